import numpy as np
import pytest

from visionkit.evaluation.accuracy import evaluate_classification

NAMES = [f"class{k}" for k in range(7)]


def test_by_hand():
    ranked = np.array([[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [6, 5, 4, 3, 2], [2, 3, 4, 5, 6]])
    report = evaluate_classification(NAMES, np.array([0, 0, 0, 2]), ranked, np.array([1.0, 2.0, 3.0, 6.0]))
    assert report.metrics == {"top1": 0.5, "top5": 0.75, "val_loss": 3.0}
    rows = {row.name: (row.objects, row.scores) for row in report.per_class}
    assert rows["class0"] == (3, {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3)})
    assert rows["class2"] == (1, {"top1": 1.0, "top5": 1.0})
    assert rows["class1"] == (0, {"top1": None, "top5": None})
    assert "n/a (0 objects)" in str(report)


def test_random_cases_equal_scikit_style_counting():
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = int(rng.integers(1, 40))
        scores, labels = rng.normal(size=(count, 7)), rng.integers(0, 7, count)
        ranked = np.argsort(-scores, axis=1)[:, :5]
        report = evaluate_classification(NAMES, labels, ranked)
        right = [(scores[i] > scores[i, labels[i]]).sum() for i in range(count)]  # how many classes stand before it
        assert report.metrics["top1"] == pytest.approx(np.mean([r < 1 for r in right]))
        assert report.metrics["top5"] == pytest.approx(np.mean([r < 5 for r in right]))


def test_no_pictures_and_few_classes():
    report = evaluate_classification(NAMES, np.zeros(0, int), np.zeros((0, 5), int), np.zeros(0))
    assert report.metrics == {"top1": None, "top5": None, "val_loss": None}
    assert evaluate_classification(["a", "b"], np.array([1]), np.array([[0, 1]])).metrics == {"top1": 0.0, "top5": 1.0}

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


def test_confidences_give_the_calibration_and_order_the_mistakes():
    ranked = np.array([[0, 1], [1, 0], [1, 2], [2, 0], [0, 2]])
    report = evaluate_classification(
        NAMES[:3], np.array([0, 0, 2, 2, 1]), ranked, None, np.array([1, 0.6, 0.9, 1, 0.6])
    )
    assert report.mistakes.tolist() == [2, 1, 4], "the most confident first, of equal ones the first"
    assert report.confusion.tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 1]]
    assert report.metrics["ece"] == pytest.approx((2 * 0.6 + 0.9) / 5)
    assert "class2 -> class1  1 of 2" in str(report) and "ece 0.420" in str(report)
    assert "ece" not in evaluate_classification(NAMES[:3], np.array([0]), ranked[:1]).metrics


def test_of_many_classes_those_with_pictures_are_listed():
    names = [f"class{k}" for k in range(1000)]
    text = str(evaluate_classification(names, np.array([3, 7]), np.array([[3, 4], [8, 9]])))
    assert "998 of 1000 classes have no pictures here" in text and "n/a" not in text
    assert text.count("class7 ") == 2 and "class9" not in text, "one row, one pair"

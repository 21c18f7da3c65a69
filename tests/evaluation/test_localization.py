"""Localization errors by hand, against plain loops, and with numbers that lie."""

import numpy as np
import pytest
import torch

from visionkit.evaluation.localization import evaluate_localization, paired_iou
from visionkit.ops.boxes import iou

NAMES = [f"class{k}" for k in range(7)]
BOX, SHIFTED, FAR = [0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [50.0, 50.0, 60.0, 60.0]  # IoU 1, 1/3, 0


def one_hot(*labels: int) -> np.ndarray:
    return np.eye(7)[list(labels)]


def test_by_hand():
    labels = np.array([0, 1, 2, 3])
    truth = np.array([BOX] * 4)
    probabilities = one_hot(0, 1, 6, 6)  # the last two are wrong; class 2 is third among equals, class 3 fourth
    boxes = np.array([[BOX] * 7, [SHIFTED] * 7, [BOX] * 7, [FAR] * 7])
    report = evaluate_localization(NAMES, labels, truth, probabilities, boxes, np.arange(4.0), np.array([SHIFTED] * 4))
    assert report.metrics == {
        "top1": 0.5,
        "top5": 1.0,
        "loc_error": 0.75,  # only the first has both
        "loc_error5": 0.5,  # the third is right among five
        "mean_iou": pytest.approx((1 + 1 / 3 + 1 + 0) / 4),
        "iou_below_half": 0.5,
        "mean_box_iou": pytest.approx(1 / 3),
        "mean_box_below_half": 1.0,
        "val_loss": 1.5,
    }
    assert report.ious == pytest.approx([1, 1 / 3, 1, 0]) and report.boxes.tolist() == [BOX, SHIFTED, BOX, FAR]
    rows = {row.name: (row.objects, row.scores) for row in report.per_class}
    assert rows["class2"] == (1, {"top1": 0.0, "loc_error": 1.0, "mean_iou": 1.0, "iou_below_half": 0.0})
    assert rows["class6"] == (0, dict.fromkeys(("top1", "loc_error", "mean_iou", "iou_below_half")))
    assert "n/a (0 objects)" in str(report)


def test_an_iou_of_exactly_a_half_counts():
    half = np.array([[[0.0, 0.0, 10.0, 5.0]]])
    report = evaluate_localization(["a"], np.array([0]), np.array([BOX]), np.ones((1, 1)), half)
    assert report.metrics["loc_error"] == report.metrics["iou_below_half"] == 0.0


def test_with_a_box_for_each_class_the_true_class_is_judged():
    boxes = np.array([[FAR, BOX] + [FAR] * 5])
    report = evaluate_localization(NAMES, np.array([1]), np.array([BOX]), one_hot(0), boxes)
    assert report.metrics["mean_iou"] == 1.0, "the box is good, although the class is wrong"
    assert report.metrics["loc_error"] == 1.0 and report.metrics["loc_error5"] == 0.0
    assert "val_loss" not in report.metrics and report.metrics["mean_box_iou"] is None


def test_random_cases_equal_plain_loops():
    rng = np.random.default_rng(0)
    for _ in range(30):
        count = int(rng.integers(1, 30))
        corner = rng.random((count, 8, 2)) * 10
        every = np.concatenate([corner, corner + rng.random((count, 8, 2)) * 20], axis=2)
        truth, boxes, labels = every[:, 0], every[:, 1:], rng.integers(0, 7, count)
        probabilities = rng.random((count, 7))
        metrics = evaluate_localization(NAMES, labels, truth, probabilities, boxes).metrics
        first = best = 0
        for i in range(count):
            own = iou(torch.tensor(truth[i : i + 1]), torch.tensor(boxes[i]))[0].numpy()
            order = sorted(range(7), key=lambda k: -probabilities[i, k])
            right = [k == labels[i] and own[k] >= 0.5 for k in order]
            first += not right[0]
            best += not any(right[:5])
        assert metrics["loc_error"] == pytest.approx(first / count)
        assert metrics["loc_error5"] == pytest.approx(best / count)


def test_paired_iou_is_the_diagonal_and_zero_without_extent():
    rng = np.random.default_rng(1)
    corner = rng.random((40, 2, 2)) * 10
    boxes = np.concatenate([corner, corner + rng.random((40, 2, 2)) * 9], axis=2)
    expected = torch.stack([iou(torch.tensor(a[None]), torch.tensor(b[None]))[0, 0] for a, b in boxes])
    assert paired_iou(boxes[:, 0], boxes[:, 1]) == pytest.approx(expected.numpy(), abs=1e-9)
    point = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert paired_iou(point, point).tolist() == [0.0]


def test_one_class_and_no_pictures():
    one = evaluate_localization(["a"], np.array([0]), np.array([BOX]), np.ones((1, 1)), np.array([[SHIFTED]]))
    assert (one.metrics["top1"], one.metrics["top5"], one.metrics["loc_error5"]) == (1.0, 1.0, 1.0)
    nothing = np.zeros((0, 4))
    report = evaluate_localization(
        NAMES, np.zeros(0, int), nothing, np.zeros((0, 7)), np.zeros((0, 7, 4)), np.zeros(0), nothing
    )
    assert set(report.metrics.values()) == {None}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="boxes hold numbers that are not finite"):
        evaluate_localization(
            ["a"], np.array([0]), np.array([BOX]), np.ones((1, 1)), np.array([[[0.0, 0.0, bad, 1.0]]])
        )
    with pytest.raises(ValueError, match="probabilities hold"):
        evaluate_localization(["a"], np.array([0]), np.array([BOX]), np.full((1, 1), bad), np.array([[BOX]]))

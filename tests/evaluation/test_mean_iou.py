"""Numbers of segmentations, beside sets of pixels counted one by one."""

import math

import numpy as np
import pytest
import torch

from visionkit.evaluation.mean_iou import ConfusionMatrix, segmentation_report

NAMES = [f"class{k}" for k in range(4)]


def measured(truth, found, num_classes):
    matrix = ConfusionMatrix(num_classes)
    matrix.add(truth, found)
    return segmentation_report([f"c{k}" for k in range(num_classes)], matrix.counts)


def by_sets(truth, found, num_classes):
    """IoU and accuracy of each class (None without a pixel) and the four means, from sets of places."""
    labelled = {place for place in np.ndindex(truth.shape) if truth[place] != 255}
    ious, accuracies, weighted = [], [], 0.0
    for k in range(num_classes):
        true = {place for place in labelled if truth[place] == k}
        best = {place for place in labelled if found[place] == k}
        ious.append(len(true & best) / len(true | best) if true else None)
        accuracies.append(len(true & best) / len(true) if true else None)
        weighted += len(true) * (ious[-1] or 0.0)
    known = [k for k in range(num_classes) if ious[k] is not None]
    if not known:
        return ious, accuracies, dict.fromkeys(("mIoU", "fwIoU", "pixel_accuracy", "mean_accuracy"))
    means = {
        "mIoU": sum(ious[k] for k in known) / len(known),
        "fwIoU": weighted / len(labelled),
        "pixel_accuracy": sum(truth[place] == found[place] for place in labelled) / len(labelled),
        "mean_accuracy": sum(accuracies[k] for k in known) / len(known),
    }
    return ious, accuracies, means


def same(value, expected):
    return value is None if expected is None else value == pytest.approx(expected, abs=1e-12)


def test_500_random_cases_equal_sets_of_pixels():
    rng = np.random.default_rng(0)
    seen = {"never seen": 0, "found only": 0, "nothing labelled": 0}
    for _ in range(500):
        count = int(rng.integers(1, 7))
        shape = tuple(rng.integers(1, 9, 2))
        known = rng.permutation(count)[: rng.integers(1, count + 1)]  # not all classes are there
        truth, found = rng.choice(known, shape), rng.integers(0, count, shape)
        truth[rng.random(shape) < rng.choice([0, 0.3, 0.8, 1.0])] = 255
        report = measured(truth, found, count)
        ious, accuracies, means = by_sets(truth, found, count)
        assert report.metrics.keys() == means.keys()
        assert all(same(report.metrics[key], means[key]) for key in means)
        assert all(same(row.scores["IoU"], iou) for row, iou in zip(report.per_class, ious, strict=True))
        assert all(same(row.scores["accuracy"], a) for row, a in zip(report.per_class, accuracies, strict=True))
        seen["never seen"] += None in ious
        seen["nothing labelled"] += (truth == 255).all()
        seen["found only"] += any(ious[k] is None and (found[truth != 255] == k).any() for k in range(count))
    assert min(seen.values()) > 20, seen


def test_by_hand_and_the_table():
    truth = np.array([[0, 0, 0, 0], [1, 1, 255, 255]])
    found = np.array([[0, 0, 1, 3], [1, 1, 0, 2]])
    report = measured(truth, found, 4)
    assert report.confusion.tolist() == [[2, 1, 0, 1], [0, 2, 0, 0], [0] * 4, [0] * 4]
    assert report.metrics["mIoU"] == pytest.approx((2 / 4 + 2 / 3) / 2), "the class found where none is takes no part"
    assert report.metrics["fwIoU"] == pytest.approx(4 / 6 * 2 / 4 + 2 / 6 * 2 / 3)
    assert report.metrics["pixel_accuracy"] == pytest.approx(4 / 6)
    lines = str(report).splitlines()
    assert lines[0].split() == ["class", "pixels", "IoU", "accuracy"]
    assert lines[2].split() == ["c0", "66.67%", "0.500", "0.500"] and lines[5].split() == ["c3", "none", "n/a", "n/a"]
    assert lines[-1].startswith("mIoU 0.583  fwIoU 0.556  pixel_accuracy 0.667  mean_accuracy 0.750")


@pytest.mark.parametrize("boundary", [[], [np.full(4, np.nan)] * 3])
def test_nothing_labelled_is_none_and_never_nan(boundary):
    matrix = ConfusionMatrix(4)
    matrix.add(np.full((3, 5), 255), np.zeros((3, 5), np.int64))
    matrix.add(np.zeros((0, 5), np.int64), np.zeros((0, 5), np.int64))
    report = segmentation_report(NAMES, matrix.counts, boundary, [])
    wanted = ["mIoU", "fwIoU", "pixel_accuracy", "mean_accuracy", "boundary_f", "val_loss"]
    assert report.metrics == dict.fromkeys(wanted)
    assert all(set(row.scores.values()) == {None} and row.objects == 0 for row in report.per_class)
    assert "n/a" in str(report) and "nan" not in str(report)


def test_boundaries_and_losses():
    counts = np.diag([5, 5, 5, 0])
    nan = math.nan
    images = [np.array([1.0, 0.5, nan, 0.0]), np.array([0.5, nan, nan, 0.0])]
    report = segmentation_report(NAMES, counts, images, [1.0, 4.0])
    assert [row.scores["boundary_f"] for row in report.per_class] == [0.75, 0.5, None, None]
    assert report.metrics["boundary_f"] == 0.625 and report.metrics["val_loss"] == 2.5
    assert "boundary_f 0.625" in str(report)
    without = segmentation_report(NAMES, counts)
    assert "boundary_f" not in without.metrics and "boundary_f" not in str(without)


def test_processes_and_pieces_count_exactly_what_one_does():
    rng = np.random.default_rng(1)
    images = [(rng.choice([0, 1, 2, 3, 255], (7, 9)), rng.integers(0, 4, (7, 9))) for _ in range(9)]
    boundary = [rng.random(4) for _ in images]
    whole, halves = ConfusionMatrix(4), [ConfusionMatrix(4), ConfusionMatrix(4)]
    for i, (truth, found) in enumerate(images):
        whole.add(truth, found)
        halves[i % 2].add(torch.from_numpy(truth[:3]), torch.from_numpy(found[:3]))
        halves[i % 2].add(truth[3:].astype(np.uint8), found[3:].astype(np.uint8))
    halves[0].merge(halves[1].counts)
    assert np.array_equal(halves[0].counts, whole.counts) and whole.counts.dtype == np.int64
    a = segmentation_report(NAMES, whole.counts, boundary)
    b = segmentation_report(NAMES, halves[0].counts, [*boundary[::2], *boundary[1::2]])
    assert a.metrics == b.metrics, "bit for bit"


def test_counts_do_not_overflow():
    matrix = ConfusionMatrix(255)
    matrix.add(np.full((2, 2), 254, np.uint8), np.full((2, 2), 254, np.uint8))
    assert matrix.counts[254, 254] == 4 == matrix.counts.sum()
    matrix.merge(np.full((255, 255), 2**40))
    assert matrix.counts.sum() == 4 + 255**2 * 2**40


def test_many_classes_show_those_with_pixels():
    counts = np.zeros((150, 150), np.int64)
    counts[3, 3], counts[7, 9] = 4, 1
    text = str(segmentation_report([f"class{k}" for k in range(150)], counts))
    assert "148 of 150 classes have no pixels here" in text and "class9 " not in text and "class7 " in text


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ([[4, 0]], [[0, 0]], "true labels go from 0 to 4: classes are 0 to 3"),
        ([[-1, 0]], [[0, 0]], "true labels go from -1"),
        ([[0, 1]], [[0, 4]], "labels found go from 0 to 4"),
        ([[0, 1]], [[0, 255]], "labels found go from 0 to 255"),
        ([[0.5, 1]], [[0, 1]], "true labels are float64: whole numbers"),
        ([[0, 1]], [[0], [1]], "one shape is wanted"),
    ],
)
def test_labels_that_are_no_class(truth, found, message):
    matrix = ConfusionMatrix(4)
    with pytest.raises(ValueError, match=message):
        matrix.add(np.array(truth), np.array(found))
    assert not matrix.counts.any()


def test_matrices_that_do_not_fit():
    for wrong in (np.zeros((3, 3), np.int64), np.zeros((4, 4))):
        with pytest.raises(ValueError, match="whole numbers"):
            ConfusionMatrix(4).merge(wrong)
    with pytest.raises(ValueError, match="1 to 255 classes"):
        ConfusionMatrix(256)
    with pytest.raises(ValueError, match=r"is \(4, 4\)"):
        segmentation_report(NAMES, np.zeros((3, 3), np.int64))

"""Ridge regression of boxes: against scikit-learn and the paper's equations, whitening, classes with few pairs."""

import numpy as np
import pytest
import torch

from visionkit.ops.deltas import decode, encode
from visionkit.ridge import EPSILON, FEWEST, fit_boxes, ridge, whitening
from visionkit.training_regions import ImageRegions


@pytest.mark.parametrize(("rows", "channels"), [(50, 8), (8, 50), (9, 9)])
def test_equals_scikit_learn_with_the_bias_regularised(rows, channels):
    from sklearn.linear_model import Ridge

    x, y = torch.randn(rows, channels), torch.randn(rows, 4, dtype=torch.float64)
    ones = np.concatenate([x.double().numpy(), np.ones((rows, 1))], axis=1)
    theirs = Ridge(alpha=3.0, fit_intercept=False).fit(ones, y.numpy()).coef_.T
    ours = ridge(lambda: zip(x.split(4), y.split(4), strict=True), rows, 3.0)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-9)


def test_whitened_targets_have_no_mean_and_nearly_unit_covariance_and_come_back():
    targets = torch.randn(500, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64) + 3
    white = whitening(targets)
    z = (targets - white.mean) @ white.apply
    covariance = z.T @ z / 500
    values = torch.linalg.eigvalsh((targets - white.mean).T @ (targets - white.mean) / 500)
    torch.testing.assert_close(torch.linalg.eigvalsh(covariance), values / (values + EPSILON))
    torch.testing.assert_close(z @ white.undo + white.mean, targets)
    alike = whitening(torch.ones(3, 4))
    assert alike.apply.isfinite().all() and torch.allclose(alike.mean, torch.ones(4).double())


def learnable(images: int, pairs: int, channels: int):
    """Regions whose features tell where their object is; class 1 has too few, class 2 none."""
    random = np.random.default_rng(0)
    answer = random.normal(size=(channels, 4)) * 0.05
    windows, regions = [], []
    for i in range(images):
        x = random.normal(size=(pairs, channels)).astype(np.float32)
        boxes = np.tile(np.array([10, 10, 40, 50], np.float32), (pairs, 1))
        matched = decode(torch.from_numpy(boxes), torch.from_numpy(x @ answer).float()).numpy()
        labels = np.zeros(pairs, np.int64)
        labels[0] = 1 if i < FEWEST - 1 else 0
        best, off = np.full(pairs, 0.9, np.float32), np.zeros(pairs, bool)
        regions.append(ImageRegions(boxes, labels, np.zeros((pairs, 3), np.float32), matched, labels, best, off))
        windows.append(x)
    return windows, regions


def test_boxes_are_moved_onto_their_objects():
    windows, regions = learnable(images=40, pairs=12, channels=6)
    weight, bias, counts = fit_boxes(windows.__getitem__, regions.__getitem__, 40, 3, mean_norm=2.4, weight=1.0)
    assert counts.tolist() == [40 * 12 - FEWEST + 1, FEWEST - 1, 0]
    one = regions[20]
    rows = np.flatnonzero(one.matched_labels == 0)
    deltas = torch.from_numpy(windows[20][rows]) @ weight[0].T + bias[0]
    found = decode(torch.from_numpy(one.boxes[rows]), deltas)
    before = np.abs(one.boxes[rows] - one.matched[rows]).mean()
    assert np.abs(found.numpy() - one.matched[rows]).mean() < 0.05 * before
    assert not weight[1:].any() and not bias[1:].any(), "too few pairs: boxes stay"


def test_a_heavy_lambda_leaves_the_mean_shift_alone():
    windows, regions = learnable(images=40, pairs=12, channels=6)
    weight, bias, _ = fit_boxes(windows.__getitem__, regions.__getitem__, 40, 3, mean_norm=2.4, weight=1e12)
    rows = [(one.matched_labels == 0) for one in regions]
    targets = [
        encode(torch.from_numpy(one.boxes[row]), torch.from_numpy(one.matched[row]))
        for one, row in zip(regions, rows, strict=True)
    ]
    assert weight.abs().max() < 1e-6
    torch.testing.assert_close(bias[0], torch.cat(targets).mean(dim=0), atol=1e-5, rtol=0)


def test_no_pairs_anywhere():
    empty = ImageRegions(
        *(np.zeros((0, *shape), kind) for shape, kind in
          (((4,), "f4"), ((), "i8"), ((3,), "f4"), ((4,), "f4"), ((), "i8"), ((), "f4"), ((), "?")))
    )  # fmt: skip
    weight, bias, counts = fit_boxes(lambda _: np.zeros((0, 6), np.float32), lambda _: empty, 2, 3, mean_norm=1.0)
    assert weight.shape == (3, 4, 6) and not weight.any() and not bias.any() and counts.tolist() == [0, 0, 0]

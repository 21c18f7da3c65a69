"""How well the outlines of classes are found: the boundary F-score."""

import math

import numpy as np
import torch

from visionkit.evaluation.mean_iou import IGNORE
from visionkit.ops.dilate import dilate


def boundary_f(truth: np.ndarray, found: np.ndarray, num_classes: int, tolerance: float = 0.0075) -> np.ndarray:
    """The boundary F-score of each class in one image (Csurka et al., "What is a good evaluation measure for semantic
    segmentation?", 2013, sec. 3): precision is the share of the found outline that is within a tolerance of the true
    one, recall the share of the true outline that is within it of the found one.

    A pixel is on the outline of its class when one of its four neighbours has another class; the frame of the picture
    is no outline. Pixels that are not labelled are on none, and neither is what was found there. Only the ribbons of
    such pixels that data sets like VOC draw around every object, thinner than twice the tolerance, are closed before:
    each of their pixels takes the class of the nearest labelled one, which puts the outline in the middle of them.

    Args:
        truth: (H, W) int64, 0 ... K-1, 255 = not labelled.
        found: (H, W) int64, 0 ... K-1.
        num_classes: K.
        tolerance: share of the image's diagonal.
    Returns:
        (K,) float64, 0 ... 1; 0 where a class has an outline in one of both only, NaN where in neither.
    Raises:
        ValueError: shapes that differ.
    """
    truth, found = np.asarray(truth), np.asarray(found)
    if truth.shape != found.shape or truth.ndim != 2:
        raise ValueError(f"the true labels are {truth.shape} and those found {found.shape}: one shape is wanted")
    radius = tolerance * math.hypot(*truth.shape)
    truth = close_ribbons(truth, radius)
    found = np.where(truth == IGNORE, IGNORE, found)
    true_outlines, found_outlines = outlines(truth), outlines(found)  # (H, W)
    scores = np.full(num_classes, np.nan)
    for label in np.union1d(truth[true_outlines], found[found_outlines]):
        true, best = true_outlines & (truth == label), found_outlines & (found == label)  # (H, W)
        scores[label] = _f_score(true, best, radius) if true.any() and best.any() else 0.0
    return scores


def outlines(labels: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour (of four) of another class, (H, W) bool; 255 is no class."""
    on = np.zeros(labels.shape, bool)
    known = labels != IGNORE
    across = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
    down = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
    on[:, 1:] |= across
    on[:, :-1] |= across
    on[1:] |= down
    on[:-1] |= down
    return on


def close_ribbons(truth: np.ndarray, radius: float) -> np.ndarray:
    """Labels (H, W) in which unlabelled pixels have the class of the nearest labelled one where there is no room for an
    unlabelled disk of this radius; 255 stays in such disks (they may reach over the frame) and close around them."""
    void = truth == IGNORE
    if radius < 1 or not void.any():
        return truth
    labelled = torch.from_numpy(~void)
    centers = ~dilate(labelled, radius)  # of disks without a labelled pixel
    # Half a radius more than the disks, so that they fill right angles too.
    ys, xs = np.nonzero((~labelled & ~dilate(centers, 1.5 * radius)).numpy())  # (V,) all near a labelled one
    closed = truth.copy()
    height, width = truth.shape
    for down, right in _by_distance(radius):
        y, x = ys + down, xs + right
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        label = truth[y.clip(0, height - 1), x.clip(0, width - 1)]
        hit = inside & (label != IGNORE)
        closed[ys[hit], xs[hit]] = label[hit]
        ys, xs = ys[~hit], xs[~hit]
    return closed


def _by_distance(radius: float) -> list[tuple[int, int]]:
    """Steps (down, right) of at most this length, the shortest first."""
    reach = range(-int(radius), int(radius) + 1)
    steps = [(down, right) for down in reach for right in reach if down**2 + right**2 <= radius**2]
    return sorted(steps, key=lambda step: (step[0] ** 2 + step[1] ** 2, step))


def _f_score(true: np.ndarray, found: np.ndarray, radius: float) -> float:
    """Of two outlines (H, W) bool that are not empty."""
    rows, columns = np.nonzero(true | found)
    window = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)  # no more than is needed
    both = torch.from_numpy(np.stack([true[window], found[window]]))  # (2, h, w)
    near = dilate(both, radius)
    recall = (both[0] & near[1]).sum().item() / both[0].sum().item()
    precision = (both[1] & near[0]).sum().item() / both[1].sum().item()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

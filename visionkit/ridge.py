"""Ridge regression of boxes (R-CNN, Girshick et al. 2014, app. C), with whitened targets as in the released code."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visionkit.ops.deltas import encode
from visionkit.svm_mining import TARGET_NORM
from visionkit.training_regions import ImageRegions

FEWEST = 10  # pairs; a class with fewer keeps its proposals' boxes
EPSILON = 1e-3  # added to the variances of the targets
ROWS = 2048  # of features turned to float64 at a time

Blocks = Callable[[], Iterable[tuple[Tensor, Tensor]]]  # anew each time: features (n, D), targets (n, T)


@dataclass(frozen=True)
class Whitening:
    """Targets (n, 4) to ones of mean 0 and covariance near 1, and back."""

    mean: Tensor  # (4,) float64
    apply: Tensor  # (4, 4) float64
    undo: Tensor  # (4, 4) float64


def whitening(targets: Tensor) -> Whitening:
    """Of targets (n, 4), n at least 1. The eigenvalues of their covariance are raised a little, so that it exists."""
    targets = targets.double()
    mean = targets.mean(dim=0)
    centred = targets - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(targets))
    roots = (values.clamp(min=0) + EPSILON).sqrt()
    return Whitening(mean, vectors @ torch.diag(1 / roots) @ vectors.T, vectors @ torch.diag(roots) @ vectors.T)


def ridge(blocks: Blocks, count: int, weight: float) -> Tensor:
    """The B (D + 1, T) float64 that is least in |[X 1] B - Y|^2 + weight |B|^2; its last row is the bias, which the
    released code regularises too.

    Solves whichever is smaller, (D + 1)^2 or n^2 equations, and holds the features of `blocks` in turn only for the
    first.

    Args:
        blocks: features X and targets Y, any number of rows at a time.
        count: n, rows in all.
        weight: lambda, above 0.
    """
    features, targets = next(iter(blocks()))
    if count > features.shape[1]:
        gram = torch.zeros(features.shape[1] + 1, features.shape[1] + 1, dtype=torch.float64)
        moment = torch.zeros(features.shape[1] + 1, targets.shape[1], dtype=torch.float64)
        for x, y in _doubles(blocks):
            gram += x.T @ x
            moment += x.T @ y
        gram.diagonal().add_(weight)
        return _solve(gram, moment)
    parts = list(blocks())
    rows = torch.cat([x for x, _ in parts])  # (n, D)
    kernel = torch.ones(count, count, dtype=torch.float64)  # of the bias
    for columns in rows.split(ROWS, dim=1):
        columns = columns.double()
        kernel += columns @ columns.T
    kernel.diagonal().add_(weight)
    dual = _solve(kernel, torch.cat([y for _, y in parts]).double())  # (n, T)
    head = [columns.double().T @ dual for columns in rows.split(ROWS, dim=1)]
    return torch.cat([*head, dual.sum(dim=0, keepdim=True)])  # (D + 1, T)


def fit_boxes(
    windows: Callable[[int], np.ndarray],
    regions: Callable[[int], ImageRegions],
    images: int,
    num_classes: int,
    mean_norm: float,
    pair_overlap: float = 0.6,
    weight: float = 1000.0,
    seen: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Regressors from a pair's window to the deltas that move its region onto the object, one for each class.

    Args:
        windows: (p, D) of image i's pairs.
        regions: of image i.
        mean_norm: mean length of a window; all are scaled to a mean of 20.
        seen: called after each class.
    Returns:
        weight (K, 4, D) and bias (K, 4) float32 of windows as they are stored, zeros for a class with too few pairs,
        and the number of pairs of each class (K,).
    """
    scale = TARGET_NORM / mean_norm
    labels, deltas = [], []  # of each image's pairs
    for i in range(images):
        image = regions(i)
        rows = image.pairs(pair_overlap)
        labels.append(image.matched_labels[rows])
        deltas.append(encode(torch.from_numpy(image.boxes[rows]), torch.from_numpy(image.matched[rows])))
    counts = np.bincount(np.concatenate([*labels, np.zeros(0, np.int64)]), minlength=num_classes)
    channels = windows(0).shape[1]
    all_weight, all_bias = torch.zeros(num_classes, 4, channels), torch.zeros(num_classes, 4)
    for label in range(num_classes):
        if counts[label] >= FEWEST:
            mine = [torch.from_numpy(np.flatnonzero(one == label)) for one in labels]
            white = whitening(torch.cat([one[rows] for one, rows in zip(deltas, mine, strict=True)]))

            def blocks(mine: list[Tensor] = mine, white: Whitening = white) -> Iterable[tuple[Tensor, Tensor]]:
                for i, rows in enumerate(mine):
                    if len(rows):
                        x = torch.from_numpy(windows(i))[rows] * scale
                        yield x, (deltas[i][rows].double() - white.mean) @ white.apply

            found = ridge(blocks, int(counts[label]), weight)
            all_weight[label] = ((found[:-1] * scale) @ white.undo).T.float()
            all_bias[label] = (found[-1] @ white.undo + white.mean).float()
        seen()
    return all_weight, all_bias, counts


def _doubles(blocks: Blocks) -> Iterable[tuple[Tensor, Tensor]]:
    """About ROWS rows at a time, with the constant of the bias."""
    waiting: list[tuple[Tensor, Tensor]] = []
    for x, y in blocks():
        waiting.append((x, y))
        if sum(len(rows) for rows, _ in waiting) >= ROWS:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x = torch.cat([one for one, _ in parts]).double()
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1), torch.cat([one for _, one in parts]).double()


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """A positive definite system."""
    return torch.cholesky_solve(right, torch.linalg.cholesky(matrix))

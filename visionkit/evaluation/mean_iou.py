"""How well every pixel is named: IoU and accuracy of each class, from a confusion matrix that grows image by image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from visionkit.evaluation.report import ClassScores, Report, headline, show

IGNORE = 255  # in truths: pixels that count for nothing
MANY = 100  # classes; of more, the table shows those that have pixels


class ConfusionMatrix:
    """How many pixels of each class were taken for which. Whole numbers: the order of the images, and how they are
    spread over processes, changes nothing.

    Attributes:
        counts: (K, K) int64, rows are the true classes, columns those found.
    Raises:
        ValueError: not 1 ... 255 classes (255 is the label of pixels that count for nothing).
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes <= IGNORE:
            raise ValueError(f"a confusion matrix of labels has 1 to {IGNORE} classes, not {num_classes}")
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, truth: ArrayLike, found: ArrayLike) -> None:
        """Counts the labelled pixels of one image, or of a piece of one.

        Args:
            truth: (H, W) int64, 0 ... K-1, 255 = not labelled.
            found: (H, W) int64, 0 ... K-1.
        Raises:
            ValueError: shapes that differ, numbers that are not whole, or a label that is no class.
        """
        true, best = np.asarray(truth), np.asarray(found)
        if true.shape != best.shape:
            raise ValueError(f"the true labels are {true.shape} and those found {best.shape}: one shape is wanted")
        labelled = true != IGNORE
        true, best = true[labelled], best[labelled]  # (L,)
        count = len(self.counts)
        for name, labels in (("true labels", true), ("labels found", best)):
            if labels.dtype.kind not in "iu":
                raise ValueError(f"{name} are {labels.dtype}: whole numbers are wanted")
            low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
            if low < 0 or high >= count:
                raise ValueError(f"{name} go from {low} to {high}: classes are 0 to {count - 1}")
        cells = true.astype(np.int64) * count + best
        self.counts += np.bincount(cells, minlength=count**2).reshape(count, count)

    def merge(self, counts: np.ndarray) -> None:
        """Adds what another process has counted, (K, K) int64."""
        counts = np.asarray(counts)
        if counts.shape != self.counts.shape or counts.dtype.kind not in "iu":
            raise ValueError(f"counts are {self.counts.shape} whole numbers, not {counts.shape} {counts.dtype}")
        self.counts += counts.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class SegmentationReport(Report):
    """A report that also says what was taken for what. `objects` of its rows are labelled pixels."""

    confusion: np.ndarray  # (K, K) int64 pixels, rows are the true classes, columns those found

    def __str__(self) -> str:
        return self._table() + "\n\n" + headline(self.metrics)

    def _table(self) -> str:
        rows = [row for row in self.per_class if row.objects or len(self.per_class) <= MANY]
        total = sum(row.objects for row in self.per_class)
        columns = list(dict.fromkeys(key for row in self.per_class for key in row.scores))
        lines = [["class", "pixels", *columns]]
        for row in rows:
            share = f"{row.objects / total:.2%}" if row.objects else "none"
            lines.append([row.name, share, *(show(row.scores[column]) for column in columns)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        texts = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
        if left_out := len(self.per_class) - len(rows):
            texts.append(f"{left_out} of {len(self.per_class)} classes have no pixels here")
        return "\n".join(texts)


def segmentation_report(
    names: Sequence[str],
    confusion: np.ndarray,
    boundary: Sequence[np.ndarray] | None = None,
    losses: Sequence[float] | None = None,
) -> SegmentationReport:
    """Numbers of 0 ... 1 over all labelled pixels of a data set, and for each class (Long et al., "Fully Convolutional
    Networks for Semantic Segmentation", 2015, sec. 5).

    `mIoU`, `mean_accuracy`: means over the classes. `fwIoU`: the mean weighted by the classes' pixels.
    `pixel_accuracy`: of all labelled pixels. `boundary_f`: mean over the classes of the mean over the images that have
    a boundary of the class (`boundary.boundary_f`).
    A class without a labelled pixel has None and takes no part in the means, also if it was found somewhere: what was
    taken for it counts against the classes that those pixels have. No labelled pixel at all: everything is None.

    Args:
        names: K classes.
        confusion: (K, K) int64, rows are the true classes (`ConfusionMatrix.counts`).
        boundary: (K,) float64 for each image, NaN where an image has no boundary of the class; None = not measured, and
            then the report has no such number.
        losses: of the images; their mean is `val_loss`. None = not measured.
    Raises:
        ValueError: the matrix is not of these classes.
    """
    count = len(names)
    if confusion.shape != (count, count):
        raise ValueError(f"a confusion matrix of {count} classes is ({count}, {count}), not {confusion.shape}")
    right = np.diag(confusion).astype(np.float64)  # (K,)
    pixels, found = confusion.sum(axis=1), confusion.sum(axis=0)  # (K,) int64
    scores = {"IoU": _shares(right, pixels + found - np.diag(confusion)), "accuracy": _shares(right, pixels)}
    if boundary is not None:
        scores["boundary_f"] = _mean_over_images(boundary, count)
    for values in scores.values():
        values[pixels == 0] = np.nan
    total = int(pixels.sum())
    shares = pixels / max(total, 1)  # (K,)
    metrics = {
        "mIoU": _mean(scores["IoU"]),
        "fwIoU": float(np.nansum(shares * scores["IoU"])) if total else None,
        "pixel_accuracy": float(right.sum() / total) if total else None,
        "mean_accuracy": _mean(scores["accuracy"]),
    }
    if boundary is not None:
        metrics["boundary_f"] = _mean(scores["boundary_f"])
    if losses is not None:
        metrics["val_loss"] = float(np.mean(losses, dtype=np.float64)) if len(losses) else None
    rows = [
        ClassScores(name, int(pixels[label]), {key: _known(values[label]) for key, values in scores.items()})
        for label, name in enumerate(names)
    ]
    return SegmentationReport(metrics, rows, confusion=confusion)


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole (K,), NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean_over_images(values: Sequence[np.ndarray], count: int) -> np.ndarray:
    """(K,) means of (K,) for each image, without NaNs; NaN where there is nothing else."""
    rows = np.array(values, np.float64).reshape(len(values), count)  # (N, K)
    known = np.isfinite(rows)
    # fsum: exact whatever the order of the images, and so over any number of processes.
    sums = np.array([math.fsum(rows[known[:, label], label]) for label in range(count)])
    return _shares(sums, known.sum(axis=0))


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

"""How well a picture's one object is named and framed: the localization task of ILSVRC, and the IoU of the boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from visionkit.evaluation.report import ClassScores, Report

HALF = 0.5  # the IoU from which a box counts (Russakovsky et al. 2015, sec. 4.2)
RANKED = 5


@dataclass(frozen=True)
class LocalizationReport(Report):
    """A report with the numbers of each picture, in the order of the data."""

    ious: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (N,) of `boxes` with the truth
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))  # (N, 4) those that `mean_iou` is of


def evaluate_localization(
    names: Sequence[str],
    labels: np.ndarray,
    truth: np.ndarray,
    probabilities: np.ndarray,
    boxes: np.ndarray,
    losses: np.ndarray | None = None,
    mean_boxes: np.ndarray | None = None,
) -> LocalizationReport:
    """Numbers of 0 ... 1, of all pictures and of each class; None where there is no picture.

    `top1`, `top5`: share of pictures whose class is the most probable, or among the five most probable.
    `loc_error`: share of pictures whose most probable class is wrong, or its box has an IoU below 0.5 with the truth.
    `loc_error5`: the same of the best of the five most probable classes, each with its own box.
    `mean_iou`, `iou_below_half`: of the box of the *true* class, so that they judge boxes and not classes; where one
    box serves all classes that is simply the box.
    `mean_box_iou`, `mean_box_below_half`: the same of a box that does not look at the picture, the baseline.

    Args:
        names: K classes.
        labels: (N,) true classes.
        truth: (N, 4) true boxes, pixels.
        probabilities: (N, K) of the classes. Among equals the lower class comes first.
        boxes: (N, K, 4) a box for each class, pixels.
        losses: (N,); their mean is `val_loss`.
        mean_boxes: (N, 4) the baseline's boxes, in pixels of each picture; None: its numbers are None.
    Raises:
        ValueError: a number that is not finite: NaN boxes would pass for boxes that overlap nothing.
    """
    for name, numbers in (("probabilities", probabilities), ("boxes", boxes), ("truth", truth)):
        if not np.isfinite(numbers).all():
            raise ValueError(f"localization: {name} hold numbers that are not finite")
    count = len(labels)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :RANKED]  # (N, M)
    hits = ranked == labels[:, None]  # (N, M)
    # A hit of rank r has the box of class ranked[r], which is the true one; a miss has no use for its box.
    ious = paired_iou(boxes[np.arange(count), labels], truth)  # (N,)
    located = hits & (ious >= HALF)[:, None]  # (N, M)
    values = {
        "top1": hits[:, :1].any(axis=1),
        "top5": hits.any(axis=1),
        "loc_error": ~located[:, :1].any(axis=1),
        "loc_error5": ~located.any(axis=1),
        "mean_iou": ious,
        "iou_below_half": ious < HALF,
    }
    metrics = {name: _mean(each) for name, each in values.items()}
    constant = None if mean_boxes is None else paired_iou(mean_boxes, truth)
    metrics["mean_box_iou"] = None if constant is None else _mean(constant)
    metrics["mean_box_below_half"] = None if constant is None else _mean(constant < HALF)
    if losses is not None:
        metrics["val_loss"] = _mean(losses)
    rows = []
    for label, name in enumerate(names):
        own = labels == label
        shown = {key: _mean(values[key][own]) for key in ("top1", "loc_error", "mean_iou", "iou_below_half")}
        rows.append(ClassScores(name, int(own.sum()), shown))
    return LocalizationReport(metrics, rows, ious=ious, boxes=boxes[np.arange(count), labels])


def paired_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of each box of a (N, 4) with the box of b (N, 4) in its row, (N,) float64; 0 for boxes without extent."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(min=0)  # (N, 2)
    common = sides.prod(axis=1)
    union = sum((box[:, 2:] - box[:, :2]).clip(min=0).prod(axis=1) for box in (a, b)) - common
    return np.divide(common, union, out=np.zeros(len(common)), where=union > 0)


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None

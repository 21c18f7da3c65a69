"""Pascal VOC's average precision at IoU 0.5: 11-point (VOC2007) and area under the curve (VOC2010 on).

VOC's boxes are whole pixels, first and last one included, so its overlap adds 1 to every side. Ours are continuous
(`x1 - 1, y1 - 1, x2, y2` when read), and the plain overlap of those is the same number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionkit.evaluation.coco_map import with_boxes
from visionkit.evaluation.predictions import Predictions, pack_predictions
from visionkit.evaluation.truth import TruthTable


@dataclass(frozen=True)
class VocScores:
    """AP is 0 ... 1, or None for a class without objects; such classes stay out of the means."""

    map07: float | None
    map10: float | None
    class_ap07: list[float | None]  # K
    class_ap10: list[float | None]  # K
    objects: np.ndarray  # (K,) int64, without the difficult ones


def voc_evaluate(
    truth: TruthTable, results: Sequence[dict[str, Any]] | Predictions, iou_threshold: float = 0.5
) -> VocScores:
    """Scores results by the VOC development kit's rules.

    Every detection belongs to the object of its class and image that it overlaps most, the first of equals, whether
    that one is taken or not. Overlap >= the threshold with a difficult object (or a crowd): it does not count at all;
    with a free one: right; else wrong. Best scores first; ties go by image id, then box (see `Predictions`).
    """
    predictions = results if isinstance(results, Predictions) else pack_predictions(results, truth)
    matched = _match(truth, with_boxes(predictions, truth), iou_threshold)  # (D,)
    right = np.zeros(len(predictions), dtype=bool)
    right[np.unique(matched, return_index=True)[1]] = True  # the best detection of each object
    right &= matched >= 0
    excused = (matched >= 0) & truth.ignored[matched] if len(truth.labels) else np.zeros_like(right)

    objects = truth.object_counts()
    ap07: list[float | None] = []
    ap10: list[float | None] = []
    for k, count in enumerate(objects.tolist()):
        counted = right[(predictions.labels == k) & ~excused]
        ap07.append(average_precision_11(counted, count) if count else None)
        ap10.append(average_precision_area(counted, count) if count else None)
    return VocScores(_mean(ap07), _mean(ap10), ap07, ap10, objects)


def average_precision_11(right: np.ndarray, objects: int) -> float:
    """Mean over recalls 0, 0.1 ... 1 of the best precision at that recall or beyond (VOC2007, sec. 4.2).

    right: (D,) bool, best first; objects: how many there are to be found. The recalls are compared as whole numbers,
    since 3 of 10 found is less than `3 * 0.1` in floating point.
    """
    found = np.cumsum(right)  # (D,)
    precision = found / np.arange(1, len(right) + 1)
    return float(np.mean([precision[10 * found >= i * objects].max(initial=0.0) for i in range(11)]))


def average_precision_area(right: np.ndarray, objects: int) -> float:
    """Area under precision made falling, at every point where recall grows (VOC2010 on). Arguments as above."""
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)  # (D,)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / objects)  # each object found adds 1 / objects of recall


def _match(truth: TruthTable, predictions: Predictions, threshold: float) -> np.ndarray:
    """(D,) int64: the object that each detection belongs to, -1 where it overlaps none enough."""
    classes = max(len(truth.names), 1)
    object_groups = _groups(truth.image_index * classes + truth.labels)
    boxes = predictions.boxes()
    matched = np.full(len(predictions), -1, dtype=np.int64)
    for group, members in _groups(predictions.image_index * classes + predictions.labels).items():
        candidates = object_groups.get(group)
        if candidates is None:
            continue
        overlaps = _iou(boxes[members], truth.boxes[candidates])  # (n, g)
        best = overlaps.argmax(axis=1)
        enough = overlaps[np.arange(len(members)), best] >= threshold
        matched[members[enough]] = candidates[best[enough]]
    return matched


def _groups(keys: np.ndarray) -> dict[int, np.ndarray]:
    """Positions by key, each list in its original order."""
    order = np.argsort(keys, kind="stable")
    unique, starts = np.unique(keys[order], return_index=True)
    return dict(zip(unique.tolist(), np.split(order, starts[1:]), strict=False))


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 4), (M, 4) -> (N, M) float64; in numpy here because the truth is float64 and whole-pixel overlaps exact."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    inter = np.clip(sides, 0, None).prod(axis=2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    union = area_a[:, None] + area_b[None] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def _mean(values: list[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return float(np.mean(present)) if present else None

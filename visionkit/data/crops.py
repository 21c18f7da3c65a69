"""The objects of a detection data set as a classification data set: each box, with a margin, is a picture."""

from typing import Any

import numpy as np

from visionkit.data.index import DetectionIndex
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.pictures import Files
from visionkit.data.sources import DetectionData


def objects(detection: DetectionData, margin: float = 0.1, min_side: float = 8.0) -> LabelledData:
    """The target of `configs/data/scene_objects.yaml`.

    Args:
        detection: a detection data set (a node of its own in the configuration).
        margin: added to every side of a box, as a share of its longer side, as far as the picture goes.
        min_side: objects whose shorter side is below, in pixels, are left out and counted in the report; so are
            crowds and difficult ones.
    """
    return join_labelled(_cut(detection.train, margin, min_side), _cut(detection.val, margin, min_side))


def _cut(index: DetectionIndex, margin: float, min_side: float) -> LabelledIndex:
    image = np.repeat(np.arange(len(index)), np.diff(index.offsets))  # (M,) each object's picture
    sides = index.boxes[:, 2:] - index.boxes[:, :2]  # (M, 2)
    kept = (sides.min(axis=1) >= min_side) & ~index.crowd & ~index.difficult if len(sides) else np.zeros(0, np.bool_)
    image, sides, boxes = image[kept], sides[kept], index.boxes[kept].copy()
    extra = margin * sides.max(axis=1, keepdims=True) if len(sides) else sides  # (M', 1)
    limits = index.sizes[image][:, ::-1].astype(np.float32)  # (M', 2) width, height
    boxes[:, :2] = np.maximum(boxes[:, :2] - extra, 0)
    boxes[:, 2:] = np.minimum(boxes[:, 2:] + extra, limits)
    left = int(len(kept) - kept.sum())
    report = list(index.report)
    if left:
        report.append(f"{index.source}: {left} objects are under {min_side:g} px, crowds or difficult: left out.")
    crops = boxes.astype(np.float32)
    pictures, labels = Files(index.paths.select(image)), index.labels[kept]
    return LabelledIndex(index.names, index.source, report, pictures, labels, crops, index.sizes[image])


def cut_out(image: np.ndarray, crop: Any) -> np.ndarray:
    """The part x1 y1 x2 y2 of a picture (H, W, 3), whole pixels that the box touches."""
    x1, y1 = np.floor(crop[:2]).astype(int)
    x2, y2 = np.ceil(crop[2:]).astype(int)
    return np.ascontiguousarray(image[max(0, y1) : y2, max(0, x1) : x2])

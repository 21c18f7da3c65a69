"""Before a detector with an RPN trains: how many objects of the training set its anchors can match."""

import numpy as np
import torch

from visionkit.data.index import DetectionIndex
from visionkit.models.propose import RPN
from visionkit.models.region_detector import RegionDetector
from visionkit.ops.anchor_coverage import best_anchor_iou
from visionkit.ops.resize import TestResize, resized_shape

MOST = 20_000  # objects looked at; evenly spread over the set


def anchor_report(model: object, index: object) -> list[str]:
    """Sentences on the anchors, at network size; none for a model without an RPN or a set without objects."""
    if not isinstance(model, RegionDetector) or not isinstance(index, DetectionIndex):
        return []
    rpn = getattr(model.propose, "rpn", model.propose)
    if not isinstance(rpn, RPN) or index.objects == 0:
        return []
    best, sides = _coverage(rpn, model, index)
    total, missed = len(best), int((best < rpn.low).sum())
    lines = [
        f"anchors at network size: {(best >= rpn.high).mean():.0%} of {total:,} objects overlap one by {rpn.high:g} or "
        f"more, {((best < rpn.high) & (best >= rpn.low)).mean():.0%} only by {rpn.low:g} to {rpn.high:g} (their best "
        f"one alone is positive), {missed:,} by less (best IoU {best.mean():.2f} on average)"
    ]
    if missed > 0.02 * total:
        small, large = np.percentile(sides[best < rpn.low], [10, 90])
        lines.append(
            f"warning: no anchor comes near {missed / total:.0%} of the objects (sides of {small:.0f} to {large:.0f} "
            "pixels at network size): set task.anchor_sizes and task.anchor_ratios for them, or a larger task.short"
        )
    return lines


def _coverage(rpn: RPN, model: RegionDetector, index: DetectionIndex) -> tuple[np.ndarray, np.ndarray]:
    """The best IoU and the side (the root of the area) of each object, crowds left out: (M,) twice."""
    resize: TestResize = model.resize
    images = np.repeat(np.arange(len(index)), np.diff(index.offsets))  # (M,)
    rows = np.flatnonzero(~index.crowd & ~index.difficult)
    rows = rows[:: max(1, -(-len(rows) // MOST))]
    shapes = np.array([resized_shape(index.size(i), resize.short, resize.long) for i in range(len(index))]).reshape(
        -1, 2
    )
    factors = (shapes / index.sizes)[images[rows]]  # (M, 2), height and width
    boxes = index.boxes[rows] * factors[:, [1, 0, 1, 0]].astype(np.float32)  # (M, 4)
    strides = [model.backbone.stages[name].stride for name in rpn.stages]
    cells = [getattr(rpn, f"cell_{i}").cpu() for i in range(len(strides))]
    best = best_anchor_iou(torch.from_numpy(boxes), torch.from_numpy(shapes[images[rows]]), cells, strides)
    return best.numpy(), np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))

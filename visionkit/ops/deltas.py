"""Box regression: how far an anchor is from a box, in units of the anchor (R-CNN, Girshick et al. 2014, app. C)."""

import math

import torch
from torch import Tensor

Stds = tuple[float, float, float, float]

_MAX_LOG = math.log(1000 / 16)  # a 16 px anchor shall not explode beyond 1000 px (py-faster-rcnn, and everyone since)
_MIN_SIDE = 1e-4  # pixels; degenerate anchors and the zeros that pad truths give finite numbers


def encode(anchors: Tensor, boxes: Tensor, stds: Stds = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Deltas (dx, dy, dw, dh) that move anchors onto boxes: centre shifts over the anchor's sides, logs of side ratios.

    Args:
        anchors, boxes: (..., 4) xyxy pixels; leading dimensions broadcast.
        stds: what each delta is divided by, (0.1, 0.1, 0.2, 0.2) in Fast R-CNN's box head; 1 / torchvision's weights.
    Returns:
        (..., 4); finite for all finite boxes, degenerate ones included.
    """
    a_center, a_sides = _center_and_sides(anchors)  # each (..., 2)
    b_center, b_sides = _center_and_sides(boxes)
    a_sides, b_sides = a_sides.clamp(min=_MIN_SIDE), b_sides.clamp(min=_MIN_SIDE)
    shift = (b_center - a_center) / a_sides
    growth = torch.log(b_sides / a_sides)
    return torch.cat((shift, growth), dim=-1) / anchors.new_tensor(stds)  # (..., 4)


def decode(anchors: Tensor, deltas: Tensor, stds: Stds = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Boxes that deltas move anchors to; inverse of `encode` up to a growth of 1000 / 16, where dw and dh are cut.

    Args:
        anchors: (..., 4) xyxy pixels.
        deltas: (..., 4); leading dimensions broadcast, so per-class deltas (R, K, 4) take anchors (R, 1, 4).
        stds: as given to `encode`.
    Returns:
        (..., 4) xyxy pixels, not clipped to any image.
    """
    center, sides = _center_and_sides(anchors)  # each (..., 2)
    deltas = deltas * anchors.new_tensor(stds)
    center = center + deltas[..., :2] * sides
    half = 0.5 * sides * torch.exp(deltas[..., 2:].clamp(max=_MAX_LOG))
    return torch.cat((center - half, center + half), dim=-1)  # (..., 4)


def _center_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides

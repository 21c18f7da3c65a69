"""How well anchors can cover objects: an object that no anchor comes near is learnt late or never."""

from collections.abc import Sequence

import torch
from torch import Tensor


def best_anchor_iou(boxes: Tensor, sizes: Tensor, cells: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
    """The IoU of each box with the best of all anchors on its image.

    Of one anchor shape the copy whose centre is nearest in x and in y shares the most with a box, so that a look at
    one position a shape is enough.

    Args:
        boxes: (N, 4) in pixels at network size, of positive extent.
        sizes: (N, 2) int64, (height, width) of the image each lies on.
        cells: per level the (A, 4) anchors of a cell, as `ops.anchors.cell_anchors` makes them.
        strides: per level, pixels from cell to cell.
    Returns:
        (N,) float32, 0 ... 1.
    """
    center = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2), x y
    sides = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
    best = boxes.new_zeros(len(boxes))
    for cell, stride in zip(cells, strides, strict=True):
        last = torch.div(sizes.flip(1) - 1, stride, rounding_mode="floor").clamp(min=0)  # (N, 2), x y of the last cell
        offset = (cell[:, :2] + cell[:, 2:]) / 2  # (A, 2), an anchor's centre relative to its cell
        shape = cell[:, 2:] - cell[:, :2]  # (A, 2)
        position = ((center[:, None] - offset) / stride).round().clamp(min=0).minimum(last[:, None].to(boxes.dtype))
        gap = (position * stride + offset - center[:, None]).abs()  # (N, A, 2)
        common = ((shape + sides[:, None]) / 2 - gap).clamp(min=0).minimum(shape).minimum(sides[:, None])  # (N, A, 2)
        shared = common.prod(dim=2)  # (N, A)
        union = shape.prod(dim=1) + sides.prod(dim=1)[:, None] - shared
        best = torch.maximum(best, (shared / union).amax(dim=1))
    return best

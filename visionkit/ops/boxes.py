"""Verbs for boxes: tensors (..., 4) float32 of `x1 y1 x2 y2` in absolute continuous pixels, no "+1".

Leading dimensions broadcast. A degenerate box (x2 <= x1 or y2 <= y1) has area 0 and overlaps nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-12  # square pixels, less than any area; keeps 0 / 0 away, from gradients too


def area(boxes: Tensor) -> Tensor:
    """Areas (...) of boxes (..., 4), never negative."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)  # (..., 2)
    return sides[..., 0] * sides[..., 1]


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Common area of every pair: a (..., N, 4), b (..., M, 4) -> (..., N, M)."""
    # One coordinate at a time: no (..., N, M, 2) is ever made, and in place: four images, 30 truths and 60,000 anchors
    # are 29 MB for each (B, N, M) that lives.
    ax1, ay1, ax2, ay2 = a[..., :, None, :].unbind(-1)  # each (..., N, 1)
    bx1, by1, bx2, by2 = b[..., None, :, :].unbind(-1)  # each (..., 1, M)
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).clamp_(min=0)  # (..., N, M)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).clamp_(min=0)  # (..., N, M)
    return width.mul_(height)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair: a (..., N, 4), b (..., M, 4) -> (..., N, M) in 0 ... 1.

    Leading dimensions broadcast, so (B, G, 4) against (N, 4) gives (B, G, N). 0 for degenerate boxes and for boxes
    that hold NaN or infinity; never NaN.
    """
    common = intersection(a, b)  # (..., N, M)
    union = (area(a)[..., :, None] + area(b)[..., None, :]).sub_(common)  # (..., N, M)
    return common.div_(union.clamp_(min=_TINY)).nan_to_num_(0.0)


def intersection_over_area(a: Tensor, b: Tensor) -> Tensor:
    """Share of each a that lies in each b: a (..., N, 4), b (..., M, 4) -> (..., N, M) in 0 ... 1; 0 for an empty a.

    The overlap that counts for crowds (COCO): a detection inside a crowd region is no mistake.
    """
    return intersection(a, b).div_(area(a)[..., :, None].clamp(min=_TINY)).nan_to_num_(0.0)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi et al., CVPR 2019) of every pair: (..., N, 4), (..., M, 4) -> (..., N, M), -1 ... 1.

    Differentiable; 0 for two degenerate boxes at one point, where the paper leaves it open.
    """
    ax1, ay1, ax2, ay2 = a[..., :, None, :].unbind(-1)  # each (..., N, 1)
    bx1, by1, bx2, by2 = b[..., None, :, :].unbind(-1)  # each (..., 1, M)
    hull = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (torch.maximum(ay2, by2) - torch.minimum(ay1, by1))
    common = intersection(a, b)  # (..., N, M)
    union = area(a)[..., :, None] + area(b)[..., None, :] - common  # (..., N, M)
    return common / union.clamp(min=_TINY) - (hull - union) / hull.clamp(min=_TINY)


def clip(boxes: Tensor, sizes: Tensor | Sequence[float]) -> Tensor:
    """Cuts boxes (..., 4) to the image: sizes (height, width), shape (2,) or broadcastable (..., 2), pixels.

    For boxes (B, N, 4) of images with sizes (B, 2) pass `sizes[:, None]`.
    """
    height, width = torch.as_tensor(sizes, device=boxes.device).to(boxes.dtype).unbind(-1)
    x1, y1, x2, y2 = boxes.clamp(min=0).unbind(-1)
    cut = (torch.minimum(x1, width), torch.minimum(y1, height), torch.minimum(x2, width), torch.minimum(y2, height))
    return torch.stack(cut, dim=-1)  # (..., 4)


def flip_horizontal(boxes: Tensor, width: Tensor | float) -> Tensor:
    """Mirrors boxes (..., 4) in an image of that width (pixels; a number, or a tensor that broadcasts to (...))."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((width - x2, y1, width - x1, y2), dim=-1)  # (..., 4)


def scale(boxes: Tensor, factors: Tensor | Sequence[float]) -> Tensor:
    """Multiplies boxes (..., 4) by (vertical, horizontal) factors, shape (2,) or broadcastable (..., 2).

    The order is that of sizes: `scale(boxes, new_size / old_size)` moves boxes with a resized image.
    """
    vertical, horizontal = torch.as_tensor(factors, device=boxes.device).to(boxes.dtype).unbind(-1)
    return boxes * torch.stack((horizontal, vertical, horizontal, vertical), dim=-1)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """`x y width height` (corner and sides, COCO's form) -> `x1 y1 x2 y2`, (..., 4)."""
    return torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """`x1 y1 x2 y2` -> `x y width height`, (..., 4)."""
    return torch.cat((boxes[..., :2], boxes[..., 2:] - boxes[..., :2]), dim=-1)


def large_enough(boxes: Tensor, min_side: float) -> Tensor:
    """Whether both sides of boxes (..., 4) reach `min_side` pixels, (...) bool. False for NaN."""
    return (boxes[..., 2:] - boxes[..., :2] >= min_side).all(dim=-1)

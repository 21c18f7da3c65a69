"""Non-maximum suppression: of boxes that overlap, keep the best. Ties in the score go to the lower index."""

import torch
from torch import Tensor

from visionkit.ops.boxes import iou
from visionkit.ops.kernels import torchvision_ops

_TRICK_LIMIT = {"cpu": 1000, "cuda": 25_000}  # boxes; measured by torchvision, and equal choices give equal results


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_keep: int | None = None) -> Tensor:
    """Greedy NMS: best first, a box is dropped if its IoU with a kept one exceeds the threshold.

    With `max_keep` only a prefix of the boxes is looked at, the best 2 * max_keep and twice as many again until enough
    are kept. What is kept depends on better boxes alone, so the result is exactly the beginning of the full one.

    Args:
        boxes: (N, 4) xyxy float32, finite.
        scores: (N,) any monotone score, no NaN.
        iou_threshold: 0 ... 1.
        max_keep: most boxes to return; None = all.
    Returns:
        (at most max_keep,) int64 positions, best first.
    """
    order = torch.sort(scores, descending=True, stable=True).indices  # (N,)
    count = len(order)
    most = count if max_keep is None else min(max_keep, count)
    if most == 0:
        return order[:0]
    prefix = count if max_keep is None else min(2 * most, count)
    while True:
        kept = _nms_sorted(boxes[order[:prefix]], iou_threshold)
        if len(kept) >= most or prefix == count:
            return order[kept[:most]]
        prefix = min(2 * prefix, count)


def nms_reference(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """`nms` without `max_keep` in plain torch: what the kernel computes, one kept box at a time."""
    order = torch.sort(scores, descending=True, stable=True).indices  # (N,)
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for position in range(len(order)):
        if alive[position]:
            best, rest = boxes[order[position : position + 1]], boxes[order[position + 1 :]]
            overlap = iou(best, rest)[0]  # (rest,)
            # Compared in float64, as in the kernel: the threshold 0.3 is not the float32 nearest to 0.3.
            alive[position + 1 :] &= ~(overlap.double() > iou_threshold)
    return order[alive]


def batched_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_keep: int | None = None
) -> Tensor:
    """NMS within each group (class, pyramid level); boxes of different groups never suppress each other.

    Args:
        boxes: (N, 4) xyxy float32, finite.
        scores: (N,).
        groups: (N,) int64, not negative.
        iou_threshold, max_keep: as in `nms`; max_keep counts over all groups together.
    Returns:
        (at most max_keep,) int64 positions, best first over all groups.
    """
    if len(boxes) > _TRICK_LIMIT.get(boxes.device.type, 25_000):
        return _nms_by_group(boxes, scores, groups, iou_threshold, max_keep)
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    # Groups are moved so far apart that they cannot meet. Negative coordinates count too, or they would reach back.
    span = boxes.max() - boxes.min().clamp(max=0) + 1
    return nms(boxes + (groups.to(boxes.dtype) * span)[:, None], scores, iou_threshold, max_keep)


def _nms_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_keep: int | None) -> Tensor:
    """One run per group: for many boxes cheaper than comparing all with all."""
    kept = []
    for group in groups.unique():  # type: ignore[no-untyped-call]
        members = (groups == group).nonzero()[:, 0]  # (n,)
        kept.append(members[nms(boxes[members], scores[members], iou_threshold, max_keep)])
    merged = torch.cat(kept).sort().values  # by position, so that the stable sort sends ties to the lower index
    return merged[torch.sort(scores[merged], descending=True, stable=True).indices[:max_keep]]


def _nms_sorted(boxes: Tensor, iou_threshold: float) -> Tensor:
    """NMS of boxes (N, 4) that stand best first -> positions kept, ascending."""
    falling = torch.arange(len(boxes), 0, -1, device=boxes.device, dtype=torch.float32)  # exact up to 2^24 boxes
    ops = torchvision_ops()
    kept: Tensor = (nms_reference if ops is None else ops.nms)(boxes, falling, iou_threshold)
    return kept

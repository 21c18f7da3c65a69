"""Soft non-maximum suppression: boxes that overlap a better one lose score in place of being dropped."""

import torch
from torch import Tensor

from visionkit.ops.boxes import iou


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    sigma: float = 0.5,
    score_threshold: float = 0.05,
    max_keep: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Gaussian Soft-NMS within each group (Bodla et al. 2017, eq. 3): a score falls by exp(-IoU^2 / sigma).

    Args:
        boxes: (N, 4) xyxy float32, finite.
        scores: (N,) 0 ... 1, no NaN.
        groups: (N,) int64; boxes of different groups leave each other alone.
        sigma: above 0; the smaller, the harder overlap is punished.
        score_threshold: boxes whose score has fallen to this or below are out.
        max_keep: most boxes to return; None = all.
    Returns:
        positions (k,) int64, best first, and their lowered scores (k,). Ties go to the lower index.
    """
    left = scores.clone()  # (N,); -inf once taken
    kept: list[Tensor] = []
    values: list[Tensor] = []
    while len(kept) < min(len(boxes), len(boxes) if max_keep is None else max_keep):
        best = left.argmax()
        if not left[best] > score_threshold:
            break
        kept.append(best)
        values.append(left[best].clone())
        overlap = iou(boxes[best][None], boxes)[0] * (groups == groups[best])  # (N,)
        left = left * torch.exp(-(overlap**2) / sigma)
        left[torch.stack(kept)] = -torch.inf
    if not kept:
        return groups.new_zeros(0), scores[:0]
    return torch.stack(kept), torch.stack(values)

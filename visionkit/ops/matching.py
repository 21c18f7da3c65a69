"""Which truth an anchor or a proposal answers for (Faster R-CNN, sec. 3.1.2; Fast R-CNN, sec. 2.3)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Matches(NamedTuple):
    """The outcome for N boxes of each of B images.

    Attributes:
        index: (B, N) int64, the truth of largest IoU, the first of equals; a valid truth wherever there is one.
        kind: (B, N) int8, 1 = positive, 0 = negative, -1 = between the thresholds, takes no part.
    """

    index: Tensor  # type: ignore[assignment]  # a tuple has a method of that name, which nobody wants here
    kind: Tensor


def match(iou: Tensor, valid: Tensor, low: float, high: float, keep_best: bool) -> Matches:
    """Positive from IoU `high` on, negative below `low`, neither between. No host synchronisation.

    With `keep_best`, the boxes that overlap a truth most, all of equals, become positive too, however little that is
    (so that no object goes without an anchor). They keep the truth of their own largest IoU, which may be another one;
    that is torchvision's rule. A truth that overlaps nothing makes no positive: torchvision would make one of every
    box that it does not overlap.

    Args:
        iou: (B, G, N) in 0 ... 1, truths against boxes.
        valid: (B, G) bool; what is padding (or a crowd) is never matched. Without a valid truth all are negative.
        low, high: 0 <= low <= high.
        keep_best: True for the anchors of an RPN, False for the regions of a box head.
    """
    if not 0 <= low <= high:
        raise ValueError(f"match needs 0 <= low <= high, not {low} and {high}")
    batch, truths, count = iou.shape
    if truths == 0 or count == 0:  # max() refuses an empty dimension
        return Matches(
            index=torch.zeros((batch, count), dtype=torch.int64, device=iou.device),
            kind=torch.zeros((batch, count), dtype=torch.int8, device=iou.device),
        )
    quality = torch.where(valid[:, :, None], iou, -1.0)  # (B, G, N)
    best, index = quality.max(dim=1)  # (B, N)
    kind = (best >= high).to(torch.int8) - ((best >= low) & (best < high)).to(torch.int8)  # (B, N)
    if keep_best:
        top = quality.amax(dim=2, keepdim=True)  # (B, G, 1)
        chosen = ((quality == top) & (top > 0)).any(dim=1)  # (B, N)
        kind = torch.where(chosen, 1, kind).to(torch.int8)  # (B, N)
    return Matches(index, kind)

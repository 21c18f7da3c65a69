"""Balanced random choice of the boxes that enter a loss (Fast R-CNN, sec. 2.3; Faster R-CNN, sec. 3.1.3)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Samples(NamedTuple):
    """A fixed number of boxes of each of B images: positives first, then negatives, then padding.

    Attributes:
        index: (B, size) int64, positions in the N boxes; 0 where padding.
        weights: (B, size) float32, 1 = chosen, 0 = padding.
        positive: (B, size) bool, chosen as a positive.
    """

    index: Tensor  # type: ignore[assignment]  # a tuple has a method of that name, which nobody wants here
    weights: Tensor
    positive: Tensor


def sample_balanced(kind: Tensor, keys: Tensor, size: int, positive_fraction: float) -> Samples:
    """At most `int(size * positive_fraction)` positives, then negatives up to `size`; those with the largest keys.

    A fixed size and no host synchronisation: an image with too few boxes is padded, and losses are weighted sums. An
    image's choice depends on its own row alone; equal keys are decided for the lower index, the same on every device.

    Args:
        kind: (B, N) integer: 1 = positive, 0 = negative, anything else is never chosen (`matching.match`).
        keys: (B, N) float32 in [0, 1) (`hashing.random_keys`).
        size: boxes per image, at least 1.
        positive_fraction: 0 ... 1.
    """
    if size < 1 or not 0 <= positive_fraction <= 1:
        raise ValueError(
            f"sample_balanced needs size >= 1 and 0 <= positive_fraction <= 1, not {size}, {positive_fraction}"
        )
    batch, count = kind.shape
    quota = int(size * positive_fraction)
    # 24 bits of key above 32 bits of position: integers without ties, since topk leaves open which of equals it takes.
    place = torch.arange(count, device=kind.device)
    rank = ((keys * 2.0**24).to(torch.int64) << 32) + (2**32 - 1 - place)  # (B, N), all > 0
    positives, have_positives = _best(torch.where(kind == 1, rank, -1), quota)  # (B, <= quota), (B, 1)
    negatives, have_negatives = _best(torch.where(kind == 0, rank, -1), size)  # (B, <= size), (B, 1)

    slot = torch.arange(size, device=kind.device).expand(batch, size)  # (B, size)
    positive = slot < have_positives  # (B, size)
    after = slot - have_positives  # (B, size), position among the negatives
    negative = (after >= 0) & (after < have_negatives)  # (B, size)
    index = torch.zeros_like(slot)
    if positives.shape[1]:
        index = torch.where(positive, positives.gather(1, slot.clamp(max=positives.shape[1] - 1)), index)
    if negatives.shape[1]:
        index = torch.where(negative, negatives.gather(1, after.clamp(0, negatives.shape[1] - 1)), index)
    return Samples(index, (positive | negative).to(torch.float32), positive)


def _best(rank: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Positions of the largest ranks of each row, best first, and how many of them are real (not -1)."""
    values, places = rank.topk(min(most, rank.shape[1]), dim=1)  # (B, k)
    return places, (values >= 0).sum(dim=1, keepdim=True)  # (B, 1)

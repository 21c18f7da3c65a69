"""Which labelled pixels of a picture are learned from, when each one costs a patch."""

import torch
from torch import Tensor

UNLABELLED = 255
_LAST = 2**62  # behind every pixel that may be chosen


def sample_pixels(semantic: Tensor, keys: Tensor, count: int, balanced: bool = False) -> tuple[Tensor, Tensor]:
    """Labelled pixels of each picture, none twice: those with the largest keys.

    A picture's choice depends on its own labels and keys alone and is the same on every device.

    Args:
        semantic: (B, H, W) int64 in 0 ... K-1, 255 = ignore.
        keys: (B, H * W) float32 in [0, 1) (`hashing.random_keys`).
        count: pixels of a picture, at least 1.
        balanced: as many of every class that the picture has, as far as they go (Farabet et al. 2013), in place
            of as many as there are.
    Returns:
        Positions (B, N) int64 in the H * W pixels and their labels (B, N) int64, N being the lesser of `count` and
        H * W; a label of 255 where a picture has fewer labelled pixels.
    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"sample_pixels needs a count of at least 1, not {count}")
    labels = semantic.flatten(1)  # (B, P)
    # Integers without ties, since topk leaves open which of equals it takes: 24 bits of key above 32 of position.
    place = torch.arange(labels.shape[1], device=labels.device)
    turn = ((2**24 - 1 - (keys * 2.0**24).to(torch.int64)) << 32) + place  # (B, P)
    if balanced:
        turn = (_place_in_class(labels, turn) << 8) + labels  # every class's first, then every class's second ...
    turn = torch.where(labels == UNLABELLED, _LAST + place, turn)
    chosen = turn.topk(min(count, labels.shape[1]), dim=1, largest=False).indices  # (B, N)
    return chosen, labels.gather(1, chosen)


def _place_in_class(labels: Tensor, turn: Tensor) -> Tensor:
    """How many pixels of the same class come before each one, (B, P) int64."""
    order = turn.argsort(dim=1)  # (B, P)
    order = order.gather(1, labels.gather(1, order).argsort(dim=1, stable=True))  # by class, in each by turn
    by_class = labels.gather(1, order)
    place = torch.arange(labels.shape[1], device=labels.device) - torch.searchsorted(by_class, by_class)
    return place.gather(1, order.argsort(dim=1))

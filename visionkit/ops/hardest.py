"""The hardest examples of each image, for losses that learn from a few of many."""

import torch
from torch import Tensor


def hardest(difficulty: Tensor, candidate: Tensor, group: Tensor, quota: Tensor) -> Tensor:
    """Of each group the `quota` candidates of largest difficulty; of equals the first. No host synchronisation.

    Args:
        difficulty: (R,) float, finite.
        candidate: (R,) bool, what may be chosen.
        group: (R,) int64, 0 ... R - 1: the image of each.
        quota: (R,) int64, by group: how many of it are chosen at most.
    Returns:
        (R,) bool.
    """
    count = len(difficulty)
    ranked = difficulty.masked_fill(~candidate, -torch.inf)
    order = ranked.argsort(descending=True, stable=True)  # (R,)
    order = order[group[order].argsort(stable=True)]  # by group, the hardest first
    grouped = group[order]  # (R,), rising
    first = torch.searchsorted(grouped, grouped)  # (R,), where the own group begins
    rank = torch.arange(count, device=group.device) - first  # (R,)
    return torch.zeros_like(candidate).scatter(0, order, rank < quota[grouped]) & candidate

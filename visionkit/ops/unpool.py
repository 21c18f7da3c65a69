"""Unpooling: small maps made larger by a rule, for the convolutions after it to fill in.

Max unpooling puts each value back to where its maximum came from (Noh et al., "Learning Deconvolution Network for
Semantic Segmentation", 2015, sec. 3.2; Badrinarayanan et al., "SegNet", 2017). Which place that was, the "switch", is
found again from the map before the pool: nothing has to be remembered from the way down.
Comparisons, views and sums only, so that gradients repeat bit for bit on a GPU too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_switches(maps: Tensor) -> Tensor:
    """Where the maxima of 2 x 2 windows are: True at the first (row by row) of each window, False elsewhere.

    Args:
        maps: (B, C, h, w) before a max pool of stride 2. Of odd sides that pool leaves out the last row or column,
            where nothing is True here.
    Returns:
        (B, C, h, w) bool, one True a window; none in a window with a NaN.
    """
    maps = maps.detach()
    down, across = maps.shape[2] // 2, maps.shape[3] // 2
    switches = torch.zeros_like(maps, dtype=torch.bool)
    if maps.numel() == 0 or down == 0 or across == 0:
        return switches
    largest = F.max_pool2d(maps, 2)  # (B, C, h // 2, w // 2)
    found = torch.zeros_like(largest, dtype=torch.bool)
    for i in (0, 1):
        for j in (0, 1):
            rows, columns = slice(i, 2 * down, 2), slice(j, 2 * across, 2)
            first = (maps[:, :, rows, columns] == largest) & ~found  # (B, C, h // 2, w // 2)
            switches[:, :, rows, columns] = first
            found |= first
    return switches


def max_unpool(maps: Tensor, before: Tensor) -> Tensor:
    """Each value at the place that the maximum of its window of `before` had, 0 elsewhere.

    Args:
        maps: (B, C, h // 2, w // 2).
        before: (B, C, h, w), the map before the pool; it takes no gradient.
    Returns:
        (B, C, h, w).
    Raises:
        ValueError: `maps` has not the shape of the pooled `before`.
    """
    batch, channels, height, width = before.shape
    down, across = height // 2, width // 2
    if maps.shape != (batch, channels, down, across):
        raise ValueError(f"maps {tuple(maps.shape)} do not fit a pool of {tuple(before.shape)}")
    switches = pool_switches(before)[:, :, : 2 * down, : 2 * across].reshape(batch, channels, down, 2, across, 2)
    placed = torch.where(switches, maps[:, :, :, None, :, None], 0)  # (B, C, h // 2, 2, w // 2, 2)
    placed = placed.reshape(batch, channels, 2 * down, 2 * across)
    odd = height - 2 * down, width - 2 * across
    return F.pad(placed, (0, odd[1], 0, odd[0])) if any(odd) else placed


def nearest_unpool(maps: Tensor, factor: int) -> Tensor:
    """Each value repeated over a square: (B, C, h, w) -> (B, C, h * factor, w * factor). ValueError below 1."""
    _require_factor(factor)
    batch, channels, height, width = maps.shape
    squares = maps[:, :, :, None, :, None].expand(-1, -1, -1, factor, -1, factor)
    return squares.reshape(batch, channels, height * factor, width * factor)


def bed_of_nails(maps: Tensor, factor: int) -> Tensor:
    """Each value in the upper left corner of a square of zeros: (B, C, h, w) -> (B, C, h * factor, w * factor).
    ValueError below 1."""
    _require_factor(factor)
    batch, channels, height, width = maps.shape
    rest = factor - 1
    squares = F.pad(maps[:, :, :, None, :, None], (0, rest, 0, 0, 0, rest))  # (B, C, h, factor, w, factor)
    return squares.reshape(batch, channels, height * factor, width * factor)


def _require_factor(factor: int) -> None:
    if factor < 1:
        raise ValueError(f"a factor of at least 1 is wanted, not {factor}")

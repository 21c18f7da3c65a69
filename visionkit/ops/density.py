"""From points to density maps, whose sum over any part of a picture is the number of objects there."""

import torch
from torch import Tensor

CHUNK = 1024  # points at a time: what is in memory is CHUNK x (h + w), however many there are


def density_map(
    points: Tensor, valid: Tensor, sizes: Tensor, grid: tuple[int, int], cell: tuple[float, float]
) -> Tensor:
    """A Gaussian at each point, integrated over every cell of a grid ("Learning to count objects in images", Lempitsky
    and Zisserman 2010, sec. 2; MCNN, Zhang et al. 2016, sec. 2.2), with a mass of exactly 1 inside of the picture.

    The integral over a cell is a difference of erf along x times one along y, so that all points together are one
    product of matrices. What a Gaussian has outside of the picture is given back to the inside: an object at the border
    counts as any other. Nothing lies in the padding.

    Args:
        points: (B, P, 3) float: x, y and the deviation of the kernel (above 0), in pixels of the batch.
        valid: (B, P) bool; points that are not add nothing.
        sizes: (B, 2) int64, (height, width) of each picture on its canvas, pixels.
        grid: (h, w) cells, over the whole canvas.
        cell: pixels of a cell, (height, width).
    Returns:
        (B, h, w) in the points' type: objects in each cell. Its sum is that of `valid`; 0 without points.
    """
    found = points.new_zeros(points.shape[0], *grid)
    with torch.autocast(points.device.type, enabled=False):  # targets are not rounded to bf16
        for first in range(0, points.shape[1], CHUNK):
            part = points[:, first : first + CHUNK]  # (B, p, 3)
            down = _shares(part[..., 1], part[..., 2], sizes[:, 0], grid[0], cell[0])  # (B, p, h)
            across = _shares(part[..., 0], part[..., 2], sizes[:, 1], grid[1], cell[1])  # (B, p, w)
            down = down * valid[:, first : first + CHUNK, None]
            found = found + torch.einsum("bph,bpw->bhw", down, across)
    return found


def cells_inside(sizes: Tensor, grid: tuple[int, int], cell: tuple[float, float]) -> Tensor:
    """(B, h, w) bool: cells that show some of the picture, and not padding alone. Arguments as for `density_map`."""
    rows, columns = (
        torch.arange(count, device=sizes.device)[None, :] * side < sizes[:, axis, None]  # (B, count)
        for axis, (count, side) in enumerate(zip(grid, cell, strict=True))
    )
    return rows[:, :, None] & columns[:, None, :]


def _shares(center: Tensor, deviation: Tensor, length: Tensor, count: int, side: float) -> Tensor:
    """The share of each Gaussian in the cells of one axis, of what it has in 0 ... length: (B, p) -> (B, p, count)."""
    edges = torch.arange(count + 1, device=center.device, dtype=center.dtype) * side  # (count + 1,)
    edges = torch.minimum(edges[None, :], length.to(center.dtype)[:, None])  # (B, count + 1): no cell in the padding
    below = torch.special.ndtr((edges[:, None, :] - center[..., None]) / deviation[..., None])  # (B, p, count + 1)
    shares: Tensor = below.diff(dim=-1)
    return shares / shares.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)

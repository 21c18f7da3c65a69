"""Anchors: the boxes that a region proposal network starts from (Faster R-CNN, sec. 3.1.1)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def cell_anchors(
    sizes: Sequence[float], ratios: Sequence[float], rounding: Literal["none", "round"] = "none"
) -> Tensor:
    """The anchors of one map cell, centred at (0, 0), ratios in the outer order and sizes in the inner.

    Args:
        sizes: square roots of the areas, pixels.
        ratios: height / width.
        rounding: "round" rounds corners to whole pixels, as torchvision does (needed for its weights).
    Returns:
        (len(ratios) * len(sizes), 4) float32 xyxy.
    """
    if rounding not in ("none", "round"):
        raise ValueError(f'rounding is "none" or "round", not {rounding!r}')
    side = torch.tensor(list(sizes), dtype=torch.float32)  # (S,)
    stretch = torch.tensor(list(ratios), dtype=torch.float32).sqrt()  # (A,)
    widths = ((1 / stretch)[:, None] * side).flatten()  # (A * S,)
    heights = (stretch[:, None] * side).flatten()  # (A * S,)
    anchors = torch.stack((-widths, -heights, widths, heights), dim=1) / 2  # (A * S, 4)
    return anchors.round() if rounding == "round" else anchors


def caffe_anchors(
    base: int = 16,
    scales: Sequence[float] = (8, 16, 32),
    ratios: Sequence[float] = (0.5, 1, 2),
    first_pixel: int = 1,
) -> Tensor:
    """The anchors of one map cell that the Caffe models of Faster R-CNN were trained with.

    Their three peculiarities: boxes are inclusive pixels (a side is x2 - x1 + 1); the cell is the first `base` pixels,
    so that is where they are centred, not at 0; each ratio's sides are rounded before they are scaled, so areas differ.
    In continuous pixels the same boxes are, as for VOC's files, `x1 - first_pixel, y1 - first_pixel,
    x2 - first_pixel + 1, y2 - first_pixel + 1`.

    Args:
        base: side of a map cell, the stride, pixels.
        scales: multiples of the base.
        ratios: height / width.
        first_pixel: number of an image's first pixel: 1 in the published Matlab list, 0 in what py-faster-rcnn
            computes (it quotes that list, but its own boxes are one less).
    Returns:
        (len(ratios) * len(scales), 4) float32, ratios in the outer order.
    """
    center = first_pixel + 0.5 * (base - 1)
    stretch = torch.tensor(list(ratios), dtype=torch.float64)  # (A,)
    widths = (base * base / stretch).sqrt().round()  # (A,)
    heights = (widths * stretch).round()  # (A,)
    sides = torch.stack((widths, heights), dim=1)  # (A, 2)
    sides = sides[:, None] * torch.tensor(list(scales), dtype=torch.float64)[:, None]  # (A, S, 2)
    reach = 0.5 * (sides.reshape(-1, 2) - 1)  # (A * S, 2)
    return torch.cat((center - reach, center + reach), dim=1).float()  # (A * S, 4)


def grid_anchors(
    cell: Tensor,
    shape: tuple[int, int],
    stride: int | tuple[int, int],
    device: torch.device | str | None = None,
) -> Tensor:
    """The anchors of a whole map: one copy of the cell's at every multiple of the stride.

    Args:
        cell: (K, 4) anchors of one cell.
        shape: (height, width) of the map, in cells; may be empty.
        stride: pixels per cell, or (vertical, horizontal) pixels.
        device: of the result; the cell's when None.
    Returns:
        (height * width * K, 4) ordered (y, x, anchor): a map (B, K, h, w) matches it after permute(0, 2, 3, 1).
    """
    cell = cell.to(device if device is not None else cell.device)
    height, width = shape
    down, right = (stride, stride) if isinstance(stride, int) else stride
    y = torch.arange(height, device=cell.device, dtype=cell.dtype) * down  # (h,)
    x = torch.arange(width, device=cell.device, dtype=cell.dtype) * right  # (w,)
    y, x = torch.meshgrid(y, x, indexing="ij")  # (h, w)
    shifts = torch.stack((x, y, x, y), dim=-1)  # (h, w, 4)
    return (shifts[:, :, None] + cell).reshape(-1, 4)  # (h * w * K, 4)

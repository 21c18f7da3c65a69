"""Masks grown by a disk."""

import math

import torch
from torch import Tensor


def dilate(masks: Tensor, radius: float) -> Tensor:
    """Every pixel that has a pixel of the mask within `radius`, from centre to centre.

    The disk is exact: its rows are runs of pixels, and a mask that was grown along its rows is reused by every row of
    the disk that is at least as long. About three boolean operations for each pixel of the radius.

    Args:
        masks: (..., H, W) bool.
        radius: pixels, at least 0; 0 leaves the mask as it is.
    Returns: (..., H, W) bool, a new tensor.
    Raises:
        ValueError: masks that are not bool, or a radius that is negative or not finite.
    """
    _check(masks, radius)
    height, width = masks.shape[-2:]
    grown, run, length = torch.zeros_like(masks), masks.clone(), 0
    reach = min(int(radius), max(height - 1, 0))
    for down in range(reach, -1, -1):  # from the shortest rows of the disk to the longest
        half = min(math.isqrt(int(radius**2 - down**2)), max(width - 1, 0))
        while length < half:
            length += 1
            run[..., length:] |= masks[..., : width - length]
            run[..., : width - length] |= masks[..., length:]
        grown[..., down:, :] |= run[..., : height - down, :]
        grown[..., : height - down, :] |= run[..., down:, :]
    return grown


def dilate_reference(masks: Tensor, radius: float) -> Tensor:
    """The same by the distances between all pairs of pixels; for small masks."""
    _check(masks, radius)
    height, width = masks.shape[-2:]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).reshape(-1, 2)  # (H * W, 2)
    squares = (places[:, None] - places[None, :]).square().sum(dim=2)  # (H * W, H * W)
    near = (squares <= radius**2).float()
    reached = masks.reshape(-1, height * width).float() @ near  # (N, H * W) pixels of the mask within the radius
    return (reached > 0).reshape(masks.shape)


def _check(masks: Tensor, radius: float) -> None:
    if masks.dtype != torch.bool or masks.ndim < 2:
        raise ValueError(f"dilate takes masks (..., H, W) of bool, not {tuple(masks.shape)} of {masks.dtype}")
    if not 0 <= radius < math.inf:
        raise ValueError(f"dilate takes a radius of at least 0 pixels, not {radius}")

"""A Gaussian blur of images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(images: Tensor, deviation: float) -> Tensor:
    """(B, C, H, W) -> the same, blurred; beyond the border stands the pixel at the border."""
    reach = math.ceil(3 * deviation)
    if reach == 0:
        return images
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = (-offsets.square() / (2 * deviation**2)).exp()
    weights = weights / weights.sum()
    channels = images.shape[1]
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)

"""From uint8 pixels to what a network sees. The only place where images are normalised."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize
from visionkit.ops.square_resize import SquareResize
from visionkit.structures import Batch

GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and OpenCV have it


class Normalize(nn.Module):
    """(x / 255 - mean) / std, then zeros in the padding: mean and std are buffers and travel with the weights.

    Zero after normalisation is what a padded convolution adds at the border, so the padding is neutral. With one mean
    and one std (a backbone whose `color` is gray) the image is made gray first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, batch: Batch) -> Tensor:
        """Pixels (B, 3, H, W) uint8 -> (B, 3, H, W) float32, or (B, 1, H, W) for a gray network."""
        pixels = batch.pixels.permute(0, 2, 3, 1).to(self.mean.dtype)  # (B, H, W, 3), the order in memory
        channels = self.mean.shape[1]
        if channels == 1:
            red, green, blue = (weight * pixels[..., i : i + 1] for i, weight in enumerate(GRAY))
            pixels = red + green + blue  # (B, H, W, 1)
        # A whole row of pixels at once: a last axis of three channels would be ten times slower on a CPU.
        count, height, width = pixels.shape[:3]
        lines = pixels.reshape(count, height, width * channels)
        mean, std = (part.view(1, 1, -1).repeat(1, 1, width) for part in (self.mean, self.std))  # (1, 1, W * C)
        lines = lines.div_(255).sub_(mean).div_(std)
        rows = torch.arange(height, device=lines.device)[None, :] < batch.sizes[:, :1]  # (B, H)
        columns = torch.arange(width, device=lines.device)[None, :] < batch.sizes[:, 1:]  # (B, W)
        lines.mul_(rows[:, :, None]).mul_(columns.repeat_interleave(channels, dim=1)[:, None, :])
        return lines.view(count, height, width, channels).permute(0, 3, 1, 2)  # channels last in memory


def batch_of(image: np.ndarray, resize: TestResize | CenterCrop | SquareResize | KeepSize) -> Batch:
    """One RGB image (H, W, 3) uint8 -> a batch of one at the size of the network, on its canvas."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is an RGB array (H, W, 3) of uint8, not {image.shape} of {image.dtype}")
    resized = resize(image)  # (h, w, 3)
    size, canvas = resized.shape[:2], resize.canvas(image.shape[:2])
    pixels = np.zeros((1, *canvas, 3), np.uint8)  # (1, H, W, 3): channels_last memory
    pixels[0, : size[0], : size[1]] = resized
    zero = torch.zeros(1, dtype=torch.int64)
    return Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor([list(size)]), zero, zero)

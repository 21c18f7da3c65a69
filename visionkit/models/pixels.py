"""From uint8 pixels to what a network sees. The only place where images are normalised."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.ops.resize import TestResize
from visionkit.structures import Batch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(x / 255 - mean) / std, then zeros in the padding: mean and std are buffers and travel with the weights.

    Zero after normalisation is what a padded convolution adds at the border, so the padding is neutral.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, batch: Batch) -> Tensor:
        """Pixels (B, 3, H, W) uint8 -> (B, 3, H, W) float32."""
        images = (batch.pixels.to(self.mean.dtype) / 255 - self.mean) / self.std  # (B, 3, H, W)
        height, width = images.shape[-2:]
        rows = torch.arange(height, device=images.device)[None, :] < batch.sizes[:, :1]  # (B, H)
        columns = torch.arange(width, device=images.device)[None, :] < batch.sizes[:, 1:]  # (B, W)
        return images * (rows[:, None, :, None] & columns[:, None, None, :])


def batch_of(image: np.ndarray, resize: TestResize) -> Batch:
    """One RGB image (H, W, 3) uint8 -> a batch of one at the size of the network, on its canvas."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is an RGB array (H, W, 3) of uint8, not {image.shape} of {image.dtype}")
    resized = resize(image)  # (h, w, 3)
    size, canvas = resized.shape[:2], resize.canvas(image.shape[:2])
    pixels = np.zeros((1, *canvas, 3), np.uint8)  # (1, H, W, 3): channels_last memory
    pixels[0, : size[0], : size[1]] = resized
    zero = torch.zeros(1, dtype=torch.int64)
    return Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor([list(size)]), zero, zero)

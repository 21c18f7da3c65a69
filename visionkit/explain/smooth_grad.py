"""SmoothGrad: the mean gradient of many noisy copies of an image (Smilkov et al. 2017, sec. 3)."""

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.score import Score, gradient


def smooth_gradient(
    score: Score, images: Tensor, samples: int = 25, noise: float = 0.15, seed: int = 0, batch_size: int = 8
) -> Tensor:
    """The gradient of the score, averaged over copies of each image with normal noise (Smilkov et al. 2017, sec. 3).

    The noise follows from the seed and the image's shape alone: copy i has the same whatever the batch size, and
    whichever images stand beside it. A map comes of it as in `saliency`: the largest of the channels' sizes.

    Args:
        score: (B, C, H, W) -> (B,).
        images: (B, C, H, W) float, normalised.
        samples: copies of each image; the paper finds little gain beyond 50.
        noise: deviation of the noise in units of the image's range, its largest less its smallest value; the paper
            finds 0.1 ... 0.2 best.
        seed: of the noise.
        batch_size: copies that are in memory at a time.
    Returns:
        (B, C, H, W) float32, signed.
    Raises:
        ConfigError: samples or batch_size below 1, noise below 0.
    """
    for name, value, least in (("samples", samples, 1), ("noise", noise, 0), ("batch_size", batch_size, 1)):
        if not value >= least:
            raise ConfigError(f"{name}={value} has to be at least {least}.")
    total = torch.zeros(images.shape, dtype=torch.float32, device=images.device)  # (B, C, H, W)
    for image, own in zip(images.detach(), total, strict=True):
        deviation = noise * (image.max() - image.min()).float()
        generator = torch.Generator().manual_seed(seed)
        for first in range(0, samples, batch_size):
            count = min(batch_size, samples - first)
            # One draw a copy: torch's numbers depend on how many are drawn at once.
            drawn = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(count)])
            copies = image + (deviation * drawn.to(image.device)).to(image.dtype)  # (count, C, H, W)
            own += gradient(score, copies).sum(dim=0)
    return total / samples

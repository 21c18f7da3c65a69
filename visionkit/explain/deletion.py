"""Deletion and insertion: how fast a score falls when the pixels that a map holds to be important go, and how fast it
rises when they come (Petsiuk et al., "RISE: Randomized Input Sampling for Explanation", 2018, sec. 4.2)."""

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.blur import gaussian_blur
from visionkit.explain.score import Score

DEVIATION = 5.0  # pixels, of the blur that insertion begins with


def importance_order(maps: Tensor) -> Tensor:
    """Maps (B, H, W) -> positions of their pixels, row by row, the largest value first; among equals the first pixel.
    (B, H * W) int64."""
    return maps.flatten(1).argsort(dim=1, descending=True, stable=True)


def random_order(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """A baseline: the pixels of `count` images of (height, width) in an order drawn by the seed, (count, H * W) int64.
    Each image has an order of its own, the same whichever images stand beside it."""
    pixels = size[0] * size[1]
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(pixels, generator=generator) for _ in range(count)]
    return torch.stack(orders) if orders else torch.zeros(0, pixels, dtype=torch.int64)


def replacement_curve(
    probability: Score, start: Tensor, end: Tensor, order: Tensor, steps: int = 50, batch_size: int = 16
) -> Tensor:
    """The score while the pixels of one image are replaced by those of another, the first of the order first.

    With an image as `start` this is its deletion, with an image as `end` its insertion.

    Args:
        probability: (B, C, H, W) -> (B,), 0 ... 1.
        start, end: (B, C, H, W) float, normalised.
        order: (B, H * W) int64, positions of pixels row by row.
        steps: after step k of these the first k / steps of the pixels are replaced.
        batch_size: images that are shown to the network at a time.
    Returns:
        (B, steps + 1) float32, from 0 to all pixels.
    Raises:
        ConfigError: steps or batch_size below 1.
    """
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name}={value} has to be at least 1.")
    count, pixels = order.shape
    rank = order.argsort(dim=1).reshape(count, 1, *start.shape[2:]).to(start.device)  # (B, 1, H, W)
    replaced = [(k * pixels) // steps for k in range(steps + 1)]
    curves = torch.zeros(count, steps + 1)
    for i in range(count):
        for first in range(0, steps + 1, batch_size):
            limits = torch.tensor(replaced[first : first + batch_size], device=start.device).view(-1, 1, 1, 1)
            mixed = torch.where(rank[i] < limits, end[i], start[i])  # (b, C, H, W)
            with torch.no_grad():
                curves[i, first : first + len(mixed)] = probability(mixed).float().cpu()
    return curves


def deletion_curve(probability: Score, images: Tensor, order: Tensor, steps: int = 50, batch_size: int = 16) -> Tensor:
    """Pixels become 0, the mean colour, as in the paper; a good map lets the score fall at once.

    Arguments and result as of `replacement_curve`.
    """
    return replacement_curve(probability, images, torch.zeros_like(images), order, steps, batch_size)


def insertion_curve(probability: Score, images: Tensor, order: Tensor, steps: int = 50, batch_size: int = 16) -> Tensor:
    """Pixels replace those of the blurred image, as in the paper, since shapes on a plain ground mislead a network
    more; a good map lets the score rise at once.

    Arguments and result as of `replacement_curve`.
    """
    blurred = gaussian_blur(images, DEVIATION) if len(images) else images
    return replacement_curve(probability, blurred, images, order, steps, batch_size)


def area(curves: Tensor) -> Tensor:
    """Areas (B,) under curves (B, steps + 1) over 0 ... 1, by trapezoids: 0 ... 1 for probabilities."""
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1), dim=1)

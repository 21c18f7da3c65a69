"""How alike two maps are: by the order of their pixels, and by their structure."""

import torch
from torch import Tensor

from visionkit.explain.blur import gaussian_blur


def rank_correlation(a: Tensor, b: Tensor) -> float | None:
    """Spearman's correlation of two maps (H, W), -1 ... 1; equal values share the mean of their ranks. Equal maps have
    exactly 1. None where one is the same everywhere: its pixels have no order."""
    first, second = (_ranks(found) for found in (a, b))  # (H * W,) float64, mean 0
    spread = (first.dot(first) * second.dot(second)).sqrt()
    return float(first.dot(second) / spread) if spread > 0 else None


def _ranks(found: Tensor) -> Tensor:
    _, place, counts = found.detach().cpu().flatten().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()  # rank of the last pixel with each value
    ranks = (last - (counts - 1) / 2)[place]  # (H * W,)
    return ranks - (len(ranks) + 1) / 2


def structural_similarity(a: Tensor, b: Tensor) -> float:
    """SSIM of two maps (H, W), each first brought to 0 ... 1 by its own least and largest value: -1 ... 1, 1 for equal
    maps (Wang et al. 2004, sec. III.B, with its constants and its Gaussian window of deviation 1.5)."""
    x, y = (_stretched(found.detach().cpu().double())[None, None] for found in (a, b))  # (1, 1, H, W)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    both = _blur(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return float((light * (2 * both + 0.03**2) / (var_x + var_y + 0.03**2)).mean())


def _blur(images: Tensor) -> Tensor:
    return gaussian_blur(images, 1.5)


def _stretched(found: Tensor) -> Tensor:
    low, high = found.min(), found.max()
    return (found - low) / (high - low) if high > low else torch.zeros_like(found)

"""What stands where an image is hidden: nothing the network could take for a thing, and each choice is one."""

from collections.abc import Callable

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.blur import gaussian_blur
from visionkit.models.pixels import Normalize

Filler = Callable[[Tensor], Tensor]
"""Normalised images (B, C, H, W) -> what takes their place, of the same shape."""


def mean_filler(images: Tensor) -> Tensor:
    """The mean colour of the data, which normalising made 0."""
    return torch.zeros_like(images)


def gray_filler(normalize: Normalize, level: float = 127.5) -> Filler:
    """A gray, 0 black ... 255 white: the paper's gray square (Zeiler and Fergus 2014, fig. 7)."""
    value = (level / 255 - normalize.mean) / normalize.std  # (1, C, 1, 1)
    return lambda images: value.to(images).expand_as(images)


def blur_filler(sigma: float = 10.0) -> Filler:
    """The image itself without what is smaller than some `sigma` pixels (a Gaussian)."""
    if not sigma > 0:
        raise ConfigError(f"a blur of sigma={sigma} has to be above 0.")

    return lambda images: gaussian_blur(images.float(), sigma).to(images)


def noise_filler(seed: int = 0) -> Filler:
    """Normal noise of mean 0 and deviation 1 in each channel, as normalised data have; the same for every image."""

    def noise(images: Tensor) -> Tensor:
        drawn = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))  # (C, H, W)
        return drawn.to(images).expand_as(images)

    return noise

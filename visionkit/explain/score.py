"""What every explanation starts from: one number of a network's answer, as a function of its images."""

from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""Normalised images of one size (B, C, H, W) float -> one number for each, (B,) float32, with a graph back to them.

Images do not influence each other's numbers: models are in eval mode. `visionkit.explain.targets` makes scores of every
kind of model; anything of this form can be explained.
"""


def leaf(images: Tensor) -> Tensor:
    """A copy of the images that gradients can be taken of, in no graph."""
    return images.detach().clone().requires_grad_()


def gradient(score: Score, images: Tensor) -> Tensor:
    """How fast each image's score changes with its pixels: (B, C, H, W) -> (B, C, H, W) float32."""
    with torch.enable_grad():
        images = leaf(images)
        (found,) = torch.autograd.grad(score(images).sum(), images)
    return found.detach().float()

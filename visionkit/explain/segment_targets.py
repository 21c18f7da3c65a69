"""What of a segmenter's answer is explained: the class of one pixel, or of all pixels that have it."""

from typing import Protocol

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.targets import Target


class PixelScores(Protocol):
    """A `Segmenter` or a `PatchSegmenter`."""

    def scores(self, images: Tensor) -> Tensor:
        """Normalised images (B, C, H, W) -> class scores (B, K, H, W)."""
        ...


def pixel_target(
    model: PixelScores,
    images: Tensor,
    x: int,
    y: int,
    names: tuple[str, ...],
    label: int | None = None,
    called: tuple[int, int] | None = None,
) -> Target:
    """The class score of the pixel (x, y) of the network's image; of the class it was given unless told otherwise.
    `called` is the pixel in the title, that of the file; None = the same."""
    with torch.no_grad():
        probabilities = model.scores(images)[0, :, y, x].softmax(dim=0)  # (K,)
    own = int(probabilities.argmax()) if label is None else label
    column, row = called or (x, y)
    return Target(
        lambda given: model.scores(given)[:, own, y, x],
        f"{names[own]} {float(probabilities[own]):.2f} at ({column}, {row})",
        lambda given: model.scores(given)[:, :, y, x].softmax(dim=1)[:, own],
        point=(x, y),
    )


def segment_target(
    model: PixelScores, images: Tensor, size: tuple[int, int], names: tuple[str, ...], label: int | None = None
) -> Target:
    """The mean class score over the pixels that were given a class (Vinogradova et al., "Towards Interpretable Semantic
    Segmentation via Gradient-weighted Class Activation Mapping", 2020); by default the class of the most pixels.

    Args:
        images: (1, C, H, W) normalised.
        size: (height, width) without padding.
    Raises:
        ConfigError: no pixel was given the class.
    """
    height, width = size
    with torch.no_grad():
        scores = model.scores(images)[0, :, :height, :width]  # (K, height, width)
    labels = scores.argmax(dim=0)
    counts = labels.flatten().bincount(minlength=len(names))  # (K,)
    own = int(counts.argmax()) if label is None else label
    if counts[own] == 0:
        seen = ", ".join(names[k] for k in counts.argsort(descending=True).tolist() if counts[k])
        raise ConfigError(f"target={names[own]}: no pixel of this picture was given that class; there are {seen}.")
    mask = labels == own  # (height, width)

    def score(given: Tensor) -> Tensor:
        return model.scores(given)[:, own, :height, :width][:, mask].mean(dim=1)  # (B,)

    def probability(given: Tensor) -> Tensor:
        found = model.scores(given)[:, :, :height, :width].softmax(dim=1)
        return found[:, own][:, mask].mean(dim=1)  # (B,)

    share = float(counts[own]) / max(mask.numel(), 1)
    return Target(score, f"{names[own]} on {share:.0%} of the picture", probability)

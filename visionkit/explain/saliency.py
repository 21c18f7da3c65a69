"""Saliency maps: how much the score changes with each pixel (Simonyan et al., "Deep Inside Convolutional Networks",
2014, sec. 3)."""

from torch import Tensor

from visionkit.explain.score import Score, gradient


def saliency(score: Score, images: Tensor) -> Tensor:
    """The gradient of the score, of each pixel's channels the largest in size (Simonyan et al. 2014, sec. 3.1).

    Args:
        score: (B, C, H, W) -> (B,), such as a class's logit.
        images: (B, C, H, W) float, normalised.
    Returns:
        (B, H, W) float32, at least 0, in units of the score for one unit of a normalised pixel.
    """
    return gradient(score, images).abs().amax(dim=1)  # (B, H, W)

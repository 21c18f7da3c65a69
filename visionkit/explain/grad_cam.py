"""Grad-CAM: where a layer's maps speak for a score (Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks
via Gradient-based Localization", 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.explain.layers import map_gradient, maps_and_scores
from visionkit.explain.rectified import guided_backpropagation
from visionkit.explain.score import Score


def grad_cam(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """Where the maps of a layer speak for the score (Selvaraju et al. 2017, sec. 3, eq. 1 and 2).

    Args:
        model: what the score is computed with.
        score: (B, C, H, W) -> (B,).
        images: (B, C, H, W) float, normalised.
        layer: "tail", a stage or the path of a module; `layers.last_maps_layer` gives the paper's choice.
    Returns:
        (B, h, w) float32, at least 0; `enlarge` brings it to the image.
    Raises:
        ConfigError: no such layer, or one that the score does not depend on or that has no places.
    """
    return signed_grad_cam(model, score, images, layer).clamp(min=0)


def signed_grad_cam(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """Grad-CAM without the last ReLU: places that speak against the score are below 0. (B, h, w) float32.

    Where the score is linear in the layer's means this is the class activation map divided by the number of places.
    Arguments and errors as in `grad_cam`.
    """
    maps, scores = maps_and_scores(model, score, images, layer)
    weights = map_gradient(scores, maps, layer).float().mean(dim=(2, 3))  # (B, C), eq. 1
    return torch.einsum("bchw,bc->bhw", maps.detach().float(), weights)


def guided_grad_cam(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """Guided backpropagation where Grad-CAM looks, one times the other (the paper's "Guided Grad-CAM", fig. 2).

    (B, C, H, W) float32, signed. Arguments and errors as in `grad_cam`.
    """
    found = enlarge(grad_cam(model, score, images, layer), (images.shape[-2], images.shape[-1]))  # (B, H, W)
    return found[:, None] * guided_backpropagation(score, images)


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, h, w) float -> (B, height, width), bilinear, a cell's value standing at the middle of its pixels."""
    if not len(maps):
        return maps.new_zeros(0, *size)
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]

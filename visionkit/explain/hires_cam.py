"""HiResCAM: a layer's maps times their gradients, place by place (Draelos and Carin, "Use HiResCAM instead of Grad-CAM
for faithful explanations of convolutional neural networks", 2020, sec. 3)."""

import torch
from torch import Tensor, nn

from visionkit.explain.layers import map_gradient, maps_and_scores
from visionkit.explain.score import Score


def hires_cam(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """Where the maps of a layer speak for the score, and only where the score looks.

    Grad-CAM's weights are means over all places, so that it also lights up what merely resembles the region of a
    detection or the surroundings of a pixel, though the score cannot see it; here every place has its own gradient, and
    what the score does not depend on is 0. For networks that end in a mean over places both are the same.

    Arguments, result (B, h, w) float32, at least 0, and errors as in `grad_cam`.
    """
    maps, scores = maps_and_scores(model, score, images, layer)
    weights = map_gradient(scores, maps, layer)  # (B, C, h, w)
    return torch.einsum("bchw,bchw->bhw", maps.detach().float(), weights.float()).clamp(min=0)

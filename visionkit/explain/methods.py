"""The methods that explain a score by a map over the image, by name, all of one form, to be shown and checked alike."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.errors import ConfigError
from visionkit.explain.cam import class_activation_map
from visionkit.explain.grad_cam import enlarge, grad_cam, guided_grad_cam
from visionkit.explain.hires_cam import hires_cam
from visionkit.explain.occlusion import heat, occlusion
from visionkit.explain.rectified import deconvnet, guided_backpropagation
from visionkit.explain.saliency import saliency
from visionkit.explain.score import Score
from visionkit.explain.smooth_grad import smooth_gradient
from visionkit.explain.targets import class_logits
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer

Method = Callable[[nn.Module, Score, Tensor, str], Tensor]
"""(model, score, normalised images (B, C, H, W), layer) -> (B, H, W) float32, at least 0, larger where the image speaks
more for the score. Methods that look at no layer ignore it."""


def over_colors(found: Tensor) -> Tensor:
    """Signed gradients (B, C, H, W) -> (B, H, W), of each pixel's channels the largest in size (Simonyan et al. 2014,
    sec. 3.1)."""
    return found.abs().amax(dim=1)


def cam_map(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """The class activation map of the class whose logit the score is, what speaks against it cut off.

    ConfigError where the score is no class's logit, or the network has no such map.
    """
    label = label_of(model, score, images)
    assert isinstance(model, Classifier | Localizer)  # the others have no logits of classes
    return enlarge(class_activation_map(model, images, label).clamp(min=0), _size(images))


def label_of(model: nn.Module, score: Score, images: Tensor) -> int:
    """The class whose logit a score is, found by comparing. ConfigError where it is none."""
    if not isinstance(model, Classifier | Localizer):
        raise ConfigError(f"a {type(model).__name__} has no classes to make activation maps of: use grad_cam.")
    with torch.no_grad():
        logits = class_logits(model)(images)  # (B, K)
        same = (logits - score(images)[:, None]).abs() <= 1e-4 * logits.abs().amax(dim=1, keepdim=True)  # (B, K)
        fits = same.all(dim=0).nonzero()[:, 0]
    if len(fits) == 0:
        raise ConfigError("class activation maps explain the logit of a class, and this score is none: use grad_cam.")
    nearest = (logits[:, fits] - score(images)[:, None]).abs().sum(dim=0).argmin()
    return int(fits[nearest])


def occlusion_map(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """How much the score falls where a window hides the image: a quarter of the shorter side, in steps of half of it,
    which makes 49 places of a square. Where the score rises the map is 0."""
    window = max(1, min(_size(images)) // 4)
    found = [heat(occlusion(score, image[None], window, max(1, window // 2))) for image in images]  # (H, W) each
    return torch.stack(found).clamp(min=0) if found else images.new_zeros(0, *_size(images))


def centre(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """A baseline that ignores image and network: 1 in the middle, falling to 0 at the corners."""
    height, width = _size(images)
    y = (torch.arange(height, device=images.device) + 0.5) / height * 2 - 1
    x = (torch.arange(width, device=images.device) + 0.5) / width * 2 - 1
    found = 1 - (y[:, None] ** 2 + x**2).sqrt() / 2**0.5  # (H, W)
    return found.float().clamp(min=0).expand(len(images), height, width).contiguous()


def edges(model: nn.Module, score: Score, images: Tensor, layer: str) -> Tensor:
    """A baseline that ignores the network: Sobel's edges of the gray image. Many maps that look convincing look like it
    (Adebayo et al. 2018)."""
    gray = F.pad(images.detach().float().mean(dim=1, keepdim=True), (1,) * 4, mode="replicate")  # (B, 1, H + 2, W + 2)
    across = gray.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    found = F.conv2d(gray, torch.stack([across, across.T])[:, None])  # (B, 2, H, W)
    return found.norm(dim=1)


METHODS: dict[str, Method] = {
    "grad_cam": lambda model, score, images, layer: enlarge(grad_cam(model, score, images, layer), _size(images)),
    "hires_cam": lambda model, score, images, layer: enlarge(hires_cam(model, score, images, layer), _size(images)),
    "guided_grad_cam": lambda model, score, images, layer: over_colors(guided_grad_cam(model, score, images, layer)),
    "guided_backpropagation": lambda model, score, images, layer: over_colors(guided_backpropagation(score, images)),
    "deconvnet": lambda model, score, images, layer: over_colors(deconvnet(score, images)),
    "saliency": lambda model, score, images, layer: saliency(score, images),
    "smooth_grad": lambda model, score, images, layer: over_colors(smooth_gradient(score, images)),
    "occlusion": occlusion_map,
    "cam": cam_map,
    "centre": centre,
    "edges": edges,
}


def chosen_methods(names: Sequence[str]) -> dict[str, Method]:
    """Some of the methods, in this order. ConfigError for an unknown name, and for none."""
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        which = f"{unknown[0]} is no method" if unknown else "no method is named"
        raise ConfigError(f"{which}; the methods are {', '.join(METHODS)}.")
    return {name: METHODS[name] for name in names}


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]

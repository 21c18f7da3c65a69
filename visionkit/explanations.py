"""Pictures that explain one number of a model's answer: where data, models, explanations and drawing meet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.cam import class_activation_map
from visionkit.explain.choose_target import choose_target, model_images
from visionkit.explain.grad_cam import enlarge, grad_cam, guided_grad_cam
from visionkit.explain.hires_cam import hires_cam
from visionkit.explain.layers import last_maps_layer
from visionkit.explain.rectified import deconvnet, guided_backpropagation
from visionkit.explain.saliency import saliency
from visionkit.explain.smooth_grad import smooth_gradient
from visionkit.explain.targets import Target
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.models.pixels import batch_of
from visionkit.occlusion_panels import OcclusionSettings, occlusion_panels
from visionkit.predictor import Predictor
from visionkit.structures import Batch
from visionkit.viz.panels import Panel, color_panel, heat_panel, picture_panel


@dataclass(frozen=True)
class View:
    """A picture as a model sees it.

    Attributes:
        name: of the file.
        batch: of one picture, on the model's device.
        images: the same normalised, (1, C, H, W).
        picture: (h, w, 3) uint8 RGB, without padding.
        original: (height, width) of the file.
    """

    name: str
    batch: Batch
    images: Tensor
    picture: np.ndarray
    original: tuple[int, int]


@dataclass(frozen=True)
class Settings:
    """Of the methods. `layer` is where Grad-CAM looks, "auto" = the last layer with places."""

    layer: str = "auto"
    samples: int = 25
    noise: float = 0.15
    batch_size: int = 16
    seed: int = 0
    occlusion: OcclusionSettings = OcclusionSettings()


def view_of(model: Any, image: np.ndarray, name: str) -> View:
    """An RGB image (H, W, 3) uint8 as `predict` shows it to the model. ConfigError for one that is too small for it."""
    device = next(model.parameters()).device
    batch = batch_of(image, model.resize).to(device)
    if hasattr(model, "propose"):
        batch = model.propose.prepare(batch, [image])
    height, width = (int(side) for side in batch.sizes[0])
    picture = batch.pixels[0, :, :height, :width].permute(1, 2, 0).cpu().contiguous().numpy()  # (h, w, 3)
    return View(name, batch, model_images(model, batch), picture, (image.shape[0], image.shape[1]))


def target_of(predictor: Predictor, view: View, text: str) -> Target:
    """What is explained of a view; see `explain.choose_target`."""
    return choose_target(predictor.model, predictor.names, view.batch, text, view.original)


def explained(
    predictor: Predictor, view: View, target: Target, methods: Sequence[str], settings: Settings
) -> list[Panel]:
    """The picture, then a panel for each method, two for occlusion. Methods that do not fit the model are left out when
    there are several; where none fits, the last one's ConfigError is raised."""
    model = predictor.model
    panels = [picture_panel(view.picture, "the picture", target.corners, target.point)]
    left_out = 0
    layer = settings.layer if settings.layer != "auto" else target.layer or last_maps_layer(model)
    for name in methods:
        try:
            panels += _PANELS[name](predictor, view, target, layer, settings)
        except ConfigError as error:
            left_out += 1
            if left_out == len(methods):
                raise
            panels.append(Panel(np.full((40, 120, 3), 24, np.uint8), f"{name}: not here"))
            print(f"{view.name}: {name} is left out: {error}")
    return panels


def header(view: View, target: Target, predictor: Predictor) -> list[str]:
    """Lines over a sheet: what is explained; the picture and the model."""
    kind = type(predictor.model).__name__
    height, width = view.picture.shape[:2]
    return [target.title, f"{view.name}, {width} x {height} pixels, {kind}"]


def _cut(values: Tensor, view: View) -> np.ndarray:
    """Values (1, ..., H, W) over the canvas -> (..., h, w) without the padding."""
    height, width = view.picture.shape[:2]
    return values[0, ..., :height, :width].detach().float().cpu().numpy()


def _marks(target: Target) -> dict[str, Any]:
    return {"box": target.corners, "point": target.point}


def _grad_cam(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    found = enlarge(grad_cam(predictor.model, target.score, view.images, layer), _canvas(view))
    return [heat_panel(view.picture, _cut(found, view), f"Grad-CAM, layer {layer}", **_marks(target))]


def _hires_cam(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    found = enlarge(hires_cam(predictor.model, target.score, view.images, layer), _canvas(view))
    return [heat_panel(view.picture, _cut(found, view), f"HiResCAM, layer {layer}", **_marks(target))]


def _cam(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    if not isinstance(predictor.model, Classifier | Localizer) or target.label is None:
        raise ConfigError("method=cam is for the classes of classifiers and localizers.")
    found = enlarge(class_activation_map(predictor.model, view.images, target.label), _canvas(view))
    return [heat_panel(view.picture, _cut(found, view), "CAM", **_marks(target))]


def _saliency(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    found = _cut(saliency(target.score, view.images), view)
    return [heat_panel(view.picture, found, "saliency, |gradient|", over_picture=False)]


def _smooth(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    found = smooth_gradient(
        target.score, view.images, settings.samples, settings.noise, settings.seed, settings.batch_size
    )
    title = f"SmoothGrad, {settings.samples} x {settings.noise:g}"
    return [heat_panel(view.picture, _cut(found.abs().amax(dim=1), view), title, over_picture=False)]


def _guided(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    found = _cut(guided_backpropagation(target.score, view.images), view)
    return [color_panel(view.picture, found, "guided backpropagation")]


def _deconvnet(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    return [color_panel(view.picture, _cut(deconvnet(target.score, view.images), view), "deconvnet")]


def _guided_grad_cam(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    found = _cut(guided_grad_cam(predictor.model, target.score, view.images, layer), view)
    return [color_panel(view.picture, found, f"Guided Grad-CAM, {layer}")]


def _occlusion(predictor: Predictor, view: View, target: Target, layer: str, settings: Settings) -> list[Panel]:
    return occlusion_panels(predictor.model, view.picture, view.images, target, predictor.names, settings.occlusion)


def _canvas(view: View) -> tuple[int, int]:
    return view.images.shape[-2], view.images.shape[-1]


_PANELS: dict[str, Callable[[Predictor, View, Target, str, Settings], list[Panel]]] = {
    "grad_cam": _grad_cam,
    "hires_cam": _hires_cam,
    "cam": _cam,
    "occlusion": _occlusion,
    "saliency": _saliency,
    "smooth_grad": _smooth,
    "guided_backpropagation": _guided,
    "deconvnet": _deconvnet,
    "guided_grad_cam": _guided_grad_cam,
}


def no_gradients_needed(model: torch.nn.Module) -> None:
    """Weights take no gradient while pictures are explained: half the work of a backward pass is theirs."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)

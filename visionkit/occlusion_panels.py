"""Occlusion as pictures: where covering costs the score, the score by the place of the square, the class that wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.fillers import Filler, blur_filler, gray_filler, mean_filler, noise_filler
from visionkit.explain.fold_norms import folded
from visionkit.explain.occlusion import Occluded, class_probability_map, heat, most_probable_map, occlusion
from visionkit.explain.targets import Target, class_logits
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.models.region_detector import RegionDetector
from visionkit.viz.palette import class_color
from visionkit.viz.panels import Panel, heat_panel, map_panel, sized
from visionkit.viz.semantic import legend

FILLERS = ("mean", "gray", "black", "white", "noise", "blur")
NAMED = 4  # classes in the legend


@dataclass(frozen=True)
class OcclusionSettings:
    """`window` pixels, None = a seventh of the picture's shorter side; `stride` pixels, None = half of the window."""

    window: int | None = None
    stride: int | None = None
    filler: str = "mean"
    precision: str = "fp32"
    batch_size: int = 16


def occlusion_panels(
    model: Any, picture: np.ndarray, images: Tensor, target: Target, names: Sequence[str], settings: OcclusionSettings
) -> list[Panel]:
    """Heat over the picture (h, w, 3), the score by the place of the square, and of classes the one that wins there.

    `images` (1, C, H, W) may be padded at the right and the bottom; squares lie in the padding too.
    """
    side = min(picture.shape[:2])
    window = settings.window or max(1, side // 7)
    stride = settings.stride or max(1, window // 2)
    filler = _filler(model, settings.filler)
    rest = (window, stride, filler, settings.batch_size, settings.precision)
    of_classes = isinstance(model, Classifier | Localizer) and target.label is not None
    if of_classes:
        found = occlusion(class_logits(folded(model)), images, *rest)  # type: ignore[arg-type]
        scores = class_probability_map(found, target.label)  # type: ignore[arg-type]
    else:
        scores = occlusion(target.probability or target.score, images, *rest)
    kind = "probability" if target.probability is not None else "score"
    height, width = picture.shape[:2]
    box = None if target.box is None else target.box.tolist()
    cost = heat(scores)[:height, :width].cpu().numpy()
    places = _places(scores, (height, width))
    panels = [
        heat_panel(picture, cost, f"occlusion {window}/{stride}: fall of {kind}", box, target.point),
        map_panel(picture, places.answers.float().cpu().numpy(), f"{kind}, square there ({float(scores.whole):.2f})"),
    ]
    if of_classes:
        panels.append(_winners(picture, most_probable_map(found).cpu().numpy(), names))
    return panels


def _places(scores: Occluded, size: tuple[int, int]) -> Occluded:
    """Without the places whose squares begin in the padding."""
    rows = sum(top < size[0] for top in scores.tops)
    columns = sum(left < size[1] for left in scores.lefts)
    return Occluded(
        scores.answers[:rows, :columns],
        scores.whole,
        scores.tops[:rows],
        scores.lefts[:columns],
        scores.window,
        scores.size,
    )


def _winners(picture: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Panel:
    """The most probable class by the place of the square, (rows, columns), with the names of the commonest."""
    shape = sized(picture).shape
    found, counts = np.unique(labels, return_counts=True)
    order = found[np.argsort(-counts, kind="stable")].tolist()
    colors = np.array([class_color(k) for k in range(len(order))], np.uint8)
    ranks = np.vectorize({label: k for k, label in enumerate(order)}.__getitem__)(labels)
    drawn = cv2.resize(colors[ranks], (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    key = legend([names[label] for label in order[:NAMED]], colors[:NAMED], shape[1])
    title = f"most probable class: {len(order)}"
    return Panel(np.concatenate([drawn, key]), title)


def _filler(model: Any, name: str) -> Filler:
    normalize = model.encode.normalize if isinstance(model, RegionDetector) else model.normalize
    levels = {"gray": 127.5, "black": 0.0, "white": 255.0}
    if name in levels:
        return gray_filler(normalize, levels[name])
    others = {"mean": mean_filler, "noise": noise_filler(), "blur": blur_filler()}
    if name not in others:
        raise ConfigError(f"filler={name}: one of {', '.join(FILLERS)} is wanted.")
    return others[name]

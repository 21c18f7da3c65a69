"""Occlusion as pictures: where covering costs the score, the score by the place of the square, the class that wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.fillers import Filler, blur_filler, gray_filler, mean_filler, noise_filler
from visionkit.explain.fold_norms import folded
from visionkit.explain.local_occlusion import local_occlusion
from visionkit.explain.occlusion import Occluded, class_probability_map, heat, most_probable_map, occlusion
from visionkit.explain.targets import Target
from visionkit.explain_settings import FILLERS
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.network_images import normalize_of
from visionkit.viz.panels import Panel, class_panel, heat_panel, map_panel


@dataclass(frozen=True)
class OcclusionSettings:
    """`window` pixels, None = a seventh of the picture's shorter side; `stride` pixels, None = half of the window."""

    window: int | None = None
    stride: int | None = None
    filler: str = "mean"
    precision: str = "fp32"
    batch_size: int = 16
    seed: int = 0  # of noise as a filler


def occlusion_panels(
    model: Any, picture: np.ndarray, images: Tensor, target: Target, names: Sequence[str], settings: OcclusionSettings
) -> list[Panel]:
    """Heat over the picture (h, w, 3), the score by the place of the square, and of classes the one that wins there.

    `images` (1, C, H, W) may be padded at the right and the bottom; squares lie in the padding too.
    """
    side = min(picture.shape[:2])
    window = settings.window or max(1, side // 7)
    stride = settings.stride or max(1, window // 2)
    filler = _filler(model, settings.filler, settings.seed)
    rest = (window, stride, filler, settings.batch_size, settings.precision)
    found: Occluded | None = None
    if isinstance(model, Classifier | Localizer) and target.label is not None:
        faster = folded(model)
        assert isinstance(faster, Classifier | Localizer)  # a copy
        found = local_occlusion(faster, images, *rest)
        scores = class_probability_map(found, target.label)
    else:
        scores = occlusion(target.probability or target.score, images, *rest)
    kind = "probability" if target.probability is not None else "score"
    height, width = picture.shape[:2]
    cost = heat(scores)[:height, :width].cpu().numpy()
    places = _places(scores, (height, width))
    panels = [
        heat_panel(picture, cost, f"occlusion {window}/{stride}: fall of {kind}", target.corners, target.point),
        map_panel(picture, places.answers.float().cpu().numpy(), f"{kind}, square there ({float(scores.whole):.2f})"),
    ]
    if found is not None:
        panels.append(class_panel(picture, most_probable_map(found).cpu().numpy(), names))
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


def _filler(model: Any, name: str, seed: int) -> Filler:
    normalize = normalize_of(model)
    levels = {"gray": 127.5, "black": 0.0, "white": 255.0}
    if name in levels:
        return gray_filler(normalize, levels[name])
    others = {"mean": mean_filler, "noise": noise_filler(seed), "blur": blur_filler()}
    if name not in others:
        raise ConfigError(f"filler={name}: one of {', '.join(FILLERS)} is wanted.")
    return others[name]

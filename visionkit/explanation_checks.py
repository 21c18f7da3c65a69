"""What the checks of explanations share: pictures as the network sees them, classes joined by name, files of results.

The checks themselves: `visionkit.pointing_check`, `visionkit.deletion_check` and `visionkit.randomisation_check`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionkit.analysis.report import csv_text
from visionkit.data.classification import labelled_sample
from visionkit.data.image import read_image
from visionkit.data.index import DetectionIndex
from visionkit.data.labelled import LabelledIndex
from visionkit.errors import ConfigError, DataError, some_of
from visionkit.explain.layers import last_maps_layer, require_layer
from visionkit.explain.targets import class_logits
from visionkit.explain_settings import spread_over
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.models.pixels import batch_of
from visionkit.predictor import Predictor


def checked_model(predictor: Predictor) -> Classifier | Localizer:
    """The model, in eval mode. ConfigError for one that gives no class to a whole picture."""
    model = predictor.model
    if not isinstance(model, Classifier | Localizer):
        raise ConfigError(
            f"a {type(model).__name__} gives no class to a whole picture: explanations of classifiers and localizers "
            "are checked."
        )
    return model.eval()


def chosen_layer(model: Classifier | Localizer, layer: str | None) -> str:
    """The layer that Grad-CAM looks at: the given one, or the last with places. ConfigError for an unknown one."""
    if layer is None:
        return last_maps_layer(model)
    require_layer(model, layer)
    return layer


def picture(index: DetectionIndex | LabelledIndex, i: int) -> np.ndarray:
    """Picture i of a data set with boxes or with classes, (H, W, 3) uint8."""
    return read_image(index.path(i)) if isinstance(index, DetectionIndex) else labelled_sample(index, i).image


def seen(model: Classifier | Localizer, image: np.ndarray) -> Tensor:
    """A picture (H, W, 3) uint8 as the network sees it: (1, C, H, W) float32, normalised."""
    device = next(model.parameters()).device
    return model.normalize(batch_of(image, model.resize).to(device))


def spread(count: int, limit: int | None) -> list[int]:
    """`spread_over`, of pictures. ConfigError for a limit below 1, DataError without pictures."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit}: null or a whole number of pictures, at least 1, is wanted.")
    if count == 0:
        raise DataError("the explanations of no picture cannot be checked: the split is empty.")
    return spread_over(count, limit)


def joined_labels(found: Sequence[str], known: Sequence[str], source: str) -> dict[int, int]:
    """Classes of data and of a model joined by name: position in `found` -> position in `known`; classes that the model
    does not know are left out. DataError where none is shared."""
    position = {name: k for k, name in enumerate(known)}
    shared = {k: position[name] for k, name in enumerate(found) if name in position}
    if not shared:
        raise DataError(
            f"{source}: the model knows none of the classes {some_of(found)} by name, its own are {some_of(known)}: "
            "name one of its classes that all objects count as (target=CLASS)."
        )
    return shared


def top_class(model: Classifier | Localizer, images: Tensor) -> int:
    """The most probable class of an image (1, C, H, W); among equals the first."""
    with torch.no_grad():
        return int(class_logits(model)(images)[0].argmax())


def write_results(folder: Path, name: str, text: str, records: Sequence[Mapping[str, Any]]) -> list[Path]:
    """`NAME.txt`, a table for people, and `NAME.csv`, a line for each record; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    (table := folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    (lines := folder / f"{name}.csv").write_text(csv_text([dict(r) for r in records]) + "\n", encoding="utf-8")
    return [table, lines]

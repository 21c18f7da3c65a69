"""A trained model from one file: the checkpoint carries its configuration, class names and preprocessing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionkit.assemble import Model, build_model
from visionkit.backbones.pretrained import load_weights
from visionkit.config import from_plain, instantiate, to_plain
from visionkit.data.image import read_image
from visionkit.engine import checkpoint
from visionkit.errors import ConfigError
from visionkit.models.classifier import Classifier
from visionkit.models.segment_views import SegmentViews
from visionkit.structures import Classification, Density, Detections, Localization, Segmentation

Found = Detections | Classification | Localization | Segmentation | Density


@dataclass(frozen=True)
class Predictor:
    """A model with its class names. `config` is the configuration it was trained with."""

    model: Model
    names: tuple[str, ...]
    config: dict[str, Any]

    def predict(self, image: str | Path | np.ndarray) -> Found:
        """An image file, or an RGB array (H, W, 3) of uint8 -> its detections in pixels of that image; the probability
        of every class where the model is a classifier; these and a box for each where it is a localizer; the class of
        every pixel where it is a segmenter; a density map where it counts; on the CPU.

        Raises DataError when the file is missing or broken, ValueError when the array is not such an image.
        """
        array = image if isinstance(image, np.ndarray) else read_image(str(image))
        return self.model.predict([array])[0]


def load(path: str | Path, device: str | torch.device = "cpu") -> Predictor:
    """The trained model in a checkpoint of `tools/train.py`, ready to predict.

    Raises ConfigError when the file is missing, broken or not such a checkpoint.
    """
    state = checkpoint.load(Path(path))
    meta = state.get("meta")
    if not isinstance(meta, dict) or "config" not in meta or "names" not in meta:
        raise ConfigError(f"{path} is a checkpoint without a configuration and class names, so no model can be built")
    names = tuple(meta["names"])
    model = build_model(from_plain(meta["config"]), len(names), pretrained=False)
    try:
        model.load_state_dict(checkpoint.weights_of(state))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ConfigError(f"{path} does not fit the model of its own configuration: {reason}") from None
    model.to(device).to(memory_format=torch.channels_last).eval()
    return Predictor(model, names, meta["config"])


def with_views(predictor: Predictor, node: Any) -> Callable[[np.ndarray], Found]:
    """How a demo looks at pictures: as `predict` does, or a segmenter's with the views of a configuration (tiles).

    ConfigError for views that are none of a segmenter's, or another model.
    """
    if node is None:
        return predictor.predict
    views = instantiate(node)
    model: Any = predictor.model
    if not hasattr(model, "segment") or not isinstance(views, SegmentViews):
        raise ConfigError("views are for segmenters here: whole, multi_scale or tiles.")
    return partial(views, model)


def published(config: Any, device: str | torch.device = "cpu") -> Predictor:
    """ImageNet's classifier as it was published, without a checkpoint: the groups `task` and `backbone` of a
    configuration, with `backbone.weights` given, and ImageNet's 1,000 class names.

    Raises ConfigError when no weights are given or found, when they have no classifier for these classes, and for
    another task than classification or a backbone around a published network (a pyramid).
    """
    from visionkit.data.imagenet_names import imagenet_names

    plain = {key: node for key, node in to_plain(config).items() if key in ("task", "backbone", "evaluation")}
    if plain.get("task") is None or plain.get("backbone") is None:
        raise ConfigError("published weights need task=classify, backbone=... and backbone.weights=... .")
    if (weights := plain["backbone"].get("weights")) is None:
        raise ConfigError("without a checkpoint backbone.weights=imagenet is wanted, or a file of published weights.")
    names = imagenet_names()
    model = build_model(from_plain(plain), len(names), pretrained=False)
    name = plain["backbone"]["_target_"].rpartition(".")[2]
    if not isinstance(model, Classifier):
        raise ConfigError("published weights are those of classifiers: choose task=classify, or give a checkpoint.")
    if model.backbone.innermost() is not model.backbone:
        raise ConfigError(
            f"no classifier is published for {name}, only for the network inside of it: choose that one as backbone."
        )
    try:
        report = load_weights(model.backbone, weights, model.head)
    except ConfigError as error:
        raise ConfigError(f"{str(error).rstrip('.')}; wanted is a classifier of ImageNet's 1,000 classes.") from None
    if not report.classifier:
        raise ConfigError(
            f"no classifier is published for {name} with this head: train one, or choose another backbone."
        )
    model.backbone.load_report = report
    model.to(device).to(memory_format=torch.channels_last).eval()
    return Predictor(model, tuple(names), plain)

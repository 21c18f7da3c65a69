"""A trained model from one file: the checkpoint carries its configuration, class names and preprocessing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visionkit.assemble import Model, build_model
from visionkit.config import from_plain
from visionkit.data.image import read_image
from visionkit.engine import checkpoint
from visionkit.errors import ConfigError
from visionkit.structures import Classification, Detections


@dataclass(frozen=True)
class Predictor:
    """A model with its class names. `config` is the configuration it was trained with."""

    model: Model
    names: tuple[str, ...]
    config: dict[str, Any]

    def predict(self, image: str | Path | np.ndarray) -> Detections | Classification:
        """An image file, or an RGB array (H, W, 3) of uint8 -> its detections in pixels of that image, or the
        probability of every class where the model is a classifier; on the CPU.

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
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ConfigError(f"{path} does not fit the model of its own configuration: {reason}") from None
    model.to(device).to(memory_format=torch.channels_last).eval()
    return Predictor(model, names, meta["config"])

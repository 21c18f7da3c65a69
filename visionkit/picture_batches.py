"""Picture files as batches at the size of a model, one after the other."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from visionkit.data.collate import pad_images
from visionkit.data.image import read_image
from visionkit.errors import ConfigError
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.structures import Batch


def with_classes(model: nn.Module, what: str) -> Classifier | Localizer:
    """The model, if it gives every picture a class. ConfigError otherwise, which says for what one is wanted."""
    if not isinstance(model, Classifier | Localizer):
        raise ConfigError(
            f"method={what} looks at the answers of a classifier or a localizer, and this is a {type(model).__name__}."
        )
    return model


def picture_batches(model: Any, paths: Sequence[str | Path], batch_size: int) -> Iterator[Batch]:
    """All pictures brought to the model's size, (B, 3, H, W) uint8 on the CPU. DataError when one cannot be read."""
    for start in range(0, len(paths), batch_size):
        files = [str(path) for path in paths[start : start + batch_size]]
        images = [model.resize(read_image(file)) for file in files]  # (H, W, 3) each
        nothing = [0] * len(files)
        yield pad_images(images, nothing, nothing, model.resize.canvas(images[0].shape[:2]))

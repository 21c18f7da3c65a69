"""Pictures as a network sees them: at its size, one or many, normalised, and back to pixels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionkit.data.collate import pad_images
from visionkit.data.image import read_image


def at_network_size(model: Any, picture: Path | np.ndarray) -> np.ndarray:
    """A picture as the model is given it when tested, without padding: (h, w, 3) uint8 RGB."""
    return model.resize(picture if isinstance(picture, np.ndarray) else read_image(picture))


def normalised(model: Any, images: Sequence[np.ndarray]) -> Tensor:
    """Pictures at network size, all of one, (h, w, 3) uint8 -> (B, C, h, w) float32 on the model's device."""
    none = [0] * len(images)
    batch = pad_images(images, none, none, (images[0].shape[0], images[0].shape[1]))
    return normalize_of(model)(batch.to(next(model.parameters()).device))


def denormalised(model: Any, images: Tensor) -> np.ndarray:
    """Normalised images (B, C, h, w) -> (B, h, w, 3) uint8, what is no colour cut off."""
    normalize = normalize_of(model)
    shares = (images.detach() * normalize.std + normalize.mean).clamp(0, 1)
    pixels = (255 * shares).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels.repeat(3, axis=3) if pixels.shape[3] == 1 else pixels


def limits_of(model: Any) -> tuple[Tensor, Tensor]:
    """The normalised values of black and of white, (C, 1, 1) each."""
    normalize = normalize_of(model)
    return ((0 - normalize.mean) / normalize.std)[0], ((1 - normalize.mean) / normalize.std)[0]


def normalize_of(model: Any) -> Any:
    """The model's own `Normalize`; a detector's is its encoder's."""
    return model.normalize if hasattr(model, "normalize") else model.encode.normalize


def batches_of(model: Any, paths: Sequence[Path], batch_size: int) -> Iterator[list[np.ndarray]]:
    """The pictures at network size, in order, as many as follow each other in one size and fit into a batch."""
    waiting: list[np.ndarray] = []
    for path in paths:
        image = at_network_size(model, path)
        if waiting and (len(waiting) == batch_size or image.shape != waiting[0].shape):
            yield waiting
            waiting = []
        waiting.append(image)
    if waiting:
        yield waiting

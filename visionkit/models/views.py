"""What of a picture a classifier is shown when it is tested: the middle, ten crops of it, or all of it.

Each kind of views maps a model and one RGB picture (H, W, 3) uint8 of any size to the probability of every class,
(K,) float32 on the CPU. A picture is always seen by itself and in batches of the same size, so its numbers depend on
no other picture.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.models.classifier import Classifier
from visionkit.ops.center_crop import CenterCrop
from visionkit.structures import Batch


class Views(Protocol):
    """See `CenterView`, `TenCrop` and `Dense`."""

    def __call__(self, model: Classifier, image: np.ndarray) -> Tensor:
        """RGB (H, W, 3) uint8 -> (K,) float32, the mean of the probabilities over all views."""


@dataclass(frozen=True)
class CenterView:
    """The square in the middle: what `Classifier.predict` sees."""

    def __call__(self, model: Classifier, image: np.ndarray) -> Tensor:
        return model.predict([image])[0].probabilities


@dataclass(frozen=True)
class TenCrop:
    """The four corners and the middle of the picture, and their mirror images (Krizhevsky et al. 2012, sec. 4.1).

    The picture is resized as for the middle alone; unlike the paper's it is not made square before.
    """

    def __call__(self, model: Classifier, image: np.ndarray) -> Tensor:
        crops = five_crops(model.resize.resized(image), model.resize.size)
        views = np.concatenate([crops, crops[:, :, ::-1]])  # (10, size, size, 3)
        return model.classify(_batch(views, model)).exp().mean(dim=0).cpu()  # (K,)


@dataclass(frozen=True)
class Dense:
    """The whole picture, not cut, at one scale or several, and its mirror image (VGG, sec. 3.2).

    The network's tail runs over the whole map, and the class scores are averaged over its positions; then
    probabilities are averaged over scales and mirror images.

    Args:
        shorts: short sides that the picture is resized to, pixels; none below the square that the model was trained
            on. None = the one that the middle is cut out of. The paper's three are 256, 384 and 512.
        flip: the mirror image too.
    Raises:
        ConfigError: no scale, or one that is no whole number; when called, one that is too small for the model.
    """

    shorts: Sequence[int] | None = None
    flip: bool = True

    def __post_init__(self) -> None:
        if self.shorts is None:
            return
        listed = isinstance(self.shorts, list | tuple) and len(self.shorts) > 0
        if not listed or any(isinstance(short, bool) or not isinstance(short, int) for short in self.shorts):
            raise ConfigError(f"views.shorts={self.shorts}: a list of whole numbers is wanted, such as [256,384].")

    def __call__(self, model: Classifier, image: np.ndarray) -> Tensor:
        shorts = [model.resize.short] if self.shorts is None else self.shorts
        if min(shorts) < model.resize.size:
            raise ConfigError(
                f"views.shorts={list(shorts)}: {min(shorts)} is less than the {model.resize.size} pixels a side that "
                "the model was made for."
            )
        found = []
        for short in shorts:
            view = CenterCrop(short, short).resized(image)[None]  # (1, h, w, 3)
            views = np.concatenate([view, view[:, :, ::-1]]) if self.flip else view
            with _as_trained(model):
                found.append(model.dense_logits(_batch(views, model)).softmax(dim=1))  # (2, K)
        return torch.cat(found).mean(dim=0).cpu()  # (K,)


def five_crops(image: np.ndarray, size: int) -> np.ndarray:
    """The corners (upper left, upper right, lower left, lower right) and the middle of a picture (H, W, 3), whose sides
    are at least `size`: (5, size, size, 3)."""
    height, width = image.shape[:2]
    bottom, right = height - size, width - size
    middle = (round(bottom / 2), round(right / 2))  # as `CenterCrop` rounds
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]
    return np.stack([image[top : top + size, left : left + size] for top, left in corners])


def _batch(images: np.ndarray, model: Classifier) -> Batch:
    """(V, H, W, 3) uint8 -> a batch without padding, where the model is."""
    count = len(images)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)  # (V, 3, H, W), channels last
    sizes = torch.tensor([list(images.shape[1:3])] * count)
    none = torch.zeros(count, dtype=torch.int64)
    return Batch(pixels, sizes, none, none).to(next(model.parameters()).device)


@contextmanager
def _as_trained(model: Classifier) -> Iterator[None]:
    """Without dropout and with running statistics; afterwards the model is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)

"""What of a picture a segmenter is shown when it is tested: all of it once, at several scales, or in tiles.

Each kind of views maps a model and one RGB picture (H, W, 3) uint8 of any size to the class of every pixel, at the size
of the picture, on the CPU. A picture is always seen by itself, so its labels depend on no other picture.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from visionkit.errors import ConfigError
from visionkit.models.pixels import batch_of
from visionkit.models.segmenter import Segmenter, segmentation
from visionkit.models.tiles import GRID, blended_rows
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import resize_image
from visionkit.ops.resize_rows import resize_rows
from visionkit.structures import Batch, Segmentation


class SegmentViews(ABC):
    """See `Whole`, `MultiScale` and `Tiles`."""

    @abstractmethod
    def __call__(self, model: Segmenter, image: np.ndarray) -> Segmentation:
        """RGB (H, W, 3) uint8 -> its segmentation (H, W), on the CPU."""


@dataclass(frozen=True)
class Whole(SegmentViews):
    """The picture as it is: what `Segmenter.predict` sees."""

    def __call__(self, model: Segmenter, image: np.ndarray) -> Segmentation:
        return model.predict([image])[0]


@dataclass(frozen=True)
class MultiScale(SegmentViews):
    """The picture at several scales, and mirrored; the mean of the probabilities, at the size of the picture.

    Args:
        scales: of the picture at the size of the network; it is resized once, from the file's own size.
        flip: the mirror image too.
    Raises:
        ConfigError: no scale, or one that is not a number above 0.
    """

    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    flip: bool = True

    def __post_init__(self) -> None:
        listed = isinstance(self.scales, list | tuple) and len(self.scales) > 0
        if not listed or not all(_positive(scale) for scale in self.scales):
            raise ConfigError(
                f"views.scales={self.scales}: a list of numbers above 0 is wanted, such as [0.75,1.0,1.25]."
            )
        if not isinstance(self.flip, bool):
            raise ConfigError(f"views.flip={self.flip}: true or false is wanted.")

    def __call__(self, model: Segmenter, image: np.ndarray) -> Segmentation:
        device = next(model.parameters()).device
        original = (image.shape[0], image.shape[1])
        with torch.inference_mode():
            total = torch.zeros(model.num_classes, *original, device=device)  # (K, H, W)
            for scale in self.scales:
                total += model.probabilities(_scaled(model, image, scale).to(device), [original])[0]
                if self.flip:
                    mirrored = _scaled(model, image[:, ::-1].copy(), scale).to(device)
                    total += model.probabilities(mirrored, [original])[0].flip(2)
            return segmentation(total / (len(self.scales) * (1 + self.flip))).to("cpu")


@dataclass(frozen=True)
class Tiles(SegmentViews):
    """A large picture in overlapping tiles: the class scores of neighbours are blended over what they share, each
    counting the less, the nearer to its end a pixel is.

    Tiles are cut from the picture at the size of the network: a model that keeps sizes is shown the file's own pixels,
    one that resizes pictures (task.short) sees tiles of the resized picture, and the scores are brought to the size of
    the file. All tiles begin at multiples of 32 pixels, where the whole picture has its cells too. What a tile lacks is
    what lies around it: with a margin of half the network's receptive field the scores are those of the whole picture
    (unless its layers look at all of a picture, as squeeze-and-excitation does). A picture that fits into one tile is
    seen whole, as by `Whole`.

    Memory: scores of one row of tiles, (K, size, W) float32 twice, and what the network needs for one tile.

    Args:
        size: of a tile, pixels a side.
        overlap: pixels that neighbours share at least.
        margin: pixels at the ends of a tile that count for nothing, at most half the overlap; None = a quarter of it.
    Raises:
        ConfigError: a setting that is no whole number, or an overlap or a margin that leaves nothing.
    """

    size: int = 512
    overlap: int = 128
    margin: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("overlap", 0), ("margin", 0)):
            value = getattr(self, name)
            if name == "margin" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"views.{name}={value}: a whole number of pixels, at least {least}, is wanted.")
        if self.size - self.overlap < GRID:
            raise ConfigError(
                f"views.size={self.size} with views.overlap={self.overlap}: a tile has to be at least {GRID} pixels "
                "larger than what it shares with the next."
            )
        if self.margin is not None and 2 * self.margin > self.overlap:
            raise ConfigError(
                f"views.margin={self.margin} with views.overlap={self.overlap}: the margins of two neighbours are more "
                "than what they share, and the pixels between would belong to no tile."
            )

    def __call__(self, model: Segmenter, image: np.ndarray) -> Segmentation:
        height, width = model.resize.shape((image.shape[0], image.shape[1]))
        if max(height, width) <= self.size:
            return model.predict([image])[0]
        original = (image.shape[0], image.shape[1])
        margin = self.overlap // 4 if self.margin is None else self.margin
        parts = []
        with _as_trained(model):
            rows = blended_rows(model, model.resize(image), self.size, self.overlap, margin)
            for scores in resize_rows(rows, (height, width), original):  # (K, n, W)
                parts.append(segmentation(scores.softmax(dim=0)).to("cpu"))
        return Segmentation(torch.cat([part.labels for part in parts]), torch.cat([part.scores for part in parts]))


def _scaled(model: Segmenter, image: np.ndarray, scale: float) -> Batch:
    """The picture at a multiple of the size that the network sees it at; at 1, the batch that `predict` makes."""
    if scale == 1:
        return batch_of(image, model.resize)
    height, width = model.resize.shape((image.shape[0], image.shape[1]))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    return batch_of(resize_image(image, shape), KeepSize(model.resize.multiple))


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


@contextmanager
def _as_trained(model: Segmenter) -> Iterator[None]:
    """Without dropout and with running statistics; afterwards the model is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)

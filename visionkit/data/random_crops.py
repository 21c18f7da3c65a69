"""The random crops of the published recipes. For pictures with a class alone: boxes and masks are not moved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.crop_plan import Window, agreed, shrinkable
from visionkit.data.transforms import uniform
from visionkit.errors import ConfigError
from visionkit.ops.hashing import mix
from visionkit.ops.resize import resize_image
from visionkit.structures import Sample

_PAD, _SCALE, _PLACE, _CROP = 5, 6, 7, 1000  # streams, see visionkit.data.transforms


@dataclass(frozen=True)
class PadCrop:
    """Pads every side with `pad` pixels of black, then cuts the old size out at a random place: the augmentation of
    CIFAR (He et al. 2015, sec. 4.2)."""

    pad: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.pad, int) or self.pad < 0:
            raise ValueError(f"pad must be a whole number of at least 0, not {self.pad}")

    def __call__(self, sample: Sample) -> Sample:
        require_label_alone(sample, "PadCrop")
        height, width = sample.image.shape[:2]
        down, right = (mix(sample.seed, _PAD, axis) % (2 * self.pad + 1) - self.pad for axis in (0, 1))
        moved = np.zeros_like(sample.image)  # (H, W, 3)
        kept = sample.image[max(0, down) : max(0, height + down), max(0, right) : max(0, width + right)]
        moved[max(0, -down) :, max(0, -right) :][: kept.shape[0], : kept.shape[1]] = kept
        return replace(sample, image=moved)


class _SquareCrop:
    """What crops to a square of the network's size share. `size` is None until the network's is known."""

    sets_size = True  # what it gives is for the network as it is, also where the file had that size already
    size: int | None

    def window(self, size: tuple[int, int], seed: int) -> Window:
        raise NotImplementedError

    def resized(self, part: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 -> (size, size, 3) uint8."""
        return resize_image(part, (self._side(), self._side()))

    def __call__(self, sample: Sample) -> Sample:
        require_label_alone(sample, type(self).__name__)
        height, width = sample.image.shape[:2]
        return replace(sample, image=self.resized(self.window((height, width), sample.seed).cut(sample.image)))

    def _side(self) -> int:
        if self.size is None:
            raise ValueError(f"{type(self).__name__} needs a size: the network's is filled in by LabelledDataset")
        return self.size


@dataclass(frozen=True)
class RandomResizedCrop(_SquareCrop):
    """A random part of the picture, resized to a square (Szegedy et al. 2014, sec. 6; torchvision's rule).

    Attributes:
        size: side of the result, pixels; None = that of the network.
        area: least and largest share of the picture's area.
        ratio: least and largest width / height.
    """

    size: int | None = None
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)

    def __post_init__(self) -> None:
        _check_size(self.size)
        for name, most in (("area", 1.0), ("ratio", float("inf"))):
            pair = getattr(self, name)
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
                raise ValueError(f"{name} must be two numbers above 0, the smaller first, not {pair}")

    def sized(self, side: int) -> "RandomResizedCrop":
        return replace(self, size=agreed(self.size, side, "RandomResizedCrop"))

    def window(self, size: tuple[int, int], seed: int) -> Window:
        return shrinkable(self._drawn(size, seed), size, self._side())

    def _drawn(self, size: tuple[int, int], seed: int) -> Window:
        height, width = size
        low, high = np.log(self.ratio[0]), np.log(self.ratio[1])
        for attempt in range(10):
            draws = [uniform(seed, _CROP + 8 * attempt + k) for k in range(4)]
            share = self.area[0] + draws[0] * (self.area[1] - self.area[0])
            ratio = float(np.exp(low + draws[1] * (high - low)))
            w, h = round((share * height * width * ratio) ** 0.5), round((share * height * width / ratio) ** 0.5)
            if 0 < w <= width and 0 < h <= height:
                return Window(int(draws[2] * (height - h + 1)), int(draws[3] * (width - w + 1)), h, w)
        # An extreme shape: the largest part of the middle with an allowed ratio.
        h = max(1, min(height, round(width / self.ratio[0])))
        w = max(1, min(width, round(height * self.ratio[1])))
        return Window((height - h) // 2, (width - w) // 2, h, w)


@dataclass(frozen=True)
class ScaleCrop(_SquareCrop):
    """The picture resized until its short side is `short` pixels, and a square cut out of it at a random place:
    AlexNet's crops of 224 out of 256 (Krizhevsky et al. 2012, sec. 4.1) and, with a range to draw `short` from, VGG's
    scale jittering (Simonyan & Zisserman 2014, sec. 3.1).

    Only the part that is seen is resized: its edges are rounded to whole pixels of the file and then it is brought to
    size, so that it may be off from the two steps by half a pixel of the file.

    Attributes:
        size: side of the result, pixels; None = that of the network.
        short: short side of the resized picture, pixels; or the least and the largest, of which one is drawn.
    """

    size: int | None = None
    short: int | Sequence[int] = 256

    def __post_init__(self) -> None:
        _check_size(self.size)
        low, high = self._range()
        if not 1 <= low <= high:
            raise ValueError(f"short must be a whole number of at least 1, or two, the smaller first, not {self.short}")
        if self.size is not None and low < self.size:
            raise ValueError(f"short must not be below size, {self.size}, but is {low}")

    def sized(self, side: int) -> "ScaleCrop":
        if self._range()[0] < side:
            raise ConfigError(
                f"augment: ScaleCrop resizes the short side to {self._range()[0]} pixels (its key short), and the "
                f"network takes {side} (task.size): a square that large cannot be cut out."
            )
        return replace(self, size=agreed(self.size, side, "ScaleCrop"))

    def window(self, size: tuple[int, int], seed: int) -> Window:
        low, high = self._range()
        short = low + mix(seed, _SCALE) % (high - low + 1)
        edges = []
        for axis, side in enumerate(size):
            scale = side / max(
                short, int(short * side / min(size))
            )  # pixels of the file for one of the resized picture
            room = round(side / scale) - self._side()
            start = mix(seed, _PLACE, axis) % (room + 1)
            first = min(round(start * scale), side - 1)
            edges.append((first, max(first + 1, min(round((start + self._side()) * scale), side))))
        (top, bottom), (left, right) = edges
        return shrinkable(Window(top, left, bottom - top, right - left), size, self._side())

    def _range(self) -> tuple[int, int]:
        pair = (self.short, self.short) if isinstance(self.short, int) else tuple(self.short)
        if len(pair) != 2 or not all(isinstance(side, int) for side in pair):
            raise ValueError(f"short must be a whole number or two of them, not {self.short}")
        return pair[0], pair[1]


def require_label_alone(sample: Sample, name: str) -> None:
    """ConfigError for a picture with boxes or a semantic mask, which these augmentations would not move along."""
    truth = sample.truth
    if len(truth.boxes) or truth.semantic is not None or sample.proposals is not None:
        raise ConfigError(f"augment: {name} is for classification; it does not move boxes and masks.")


def _check_size(size: int | None) -> None:
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(f"size must be a whole number of at least 1, or null for the network's, not {size}")

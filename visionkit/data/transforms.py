"""Flips and resizes a `Sample` as a whole: image, boxes, masks, semantic mask and proposals together.

What is drawn by chance is a function of `Sample.seed` alone, so a sample does not depend on worker, rank or history.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from visionkit.errors import ConfigError
from visionkit.ops.hashing import mix
from visionkit.ops.resize import resize_image, resized_shape
from visionkit.structures import Sample, Truth

_FLIP, _SHORT, _UPSIDE, _PAD, _CROP = 1, 2, 4, 5, 1000  # streams: two draws from one seed must not be the same number


def uniform(seed: int, stream: int) -> float:
    """A number in [0, 1) that is a function of its arguments."""
    return mix(seed, stream) / 2**63


class Chain:
    """One transform after the other."""

    def __init__(self, steps: Sequence[Callable[[Sample], Sample]]) -> None:
        self.steps = tuple(steps)
        self.sets_size = any(getattr(step, "sets_size", False) for step in steps)

    def __call__(self, sample: Sample) -> Sample:
        for step in self.steps:
            sample = step(sample)
        return sample


@dataclass(frozen=True)
class PadCrop:
    """Pads every side with `pad` pixels of black, then cuts the old size out at a random place: the augmentation of
    CIFAR (He et al. 2015, sec. 4.2). For pictures with a class alone: boxes and masks are not moved."""

    pad: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.pad, int) or self.pad < 0:
            raise ValueError(f"pad must be a whole number of at least 0, not {self.pad}")

    def __call__(self, sample: Sample) -> Sample:
        _require_label_alone(sample, "PadCrop")
        height, width = sample.image.shape[:2]
        top, left = (mix(sample.seed, _PAD, axis) % (2 * self.pad + 1) for axis in (0, 1))
        padded = np.pad(sample.image, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)))
        return replace(sample, image=np.ascontiguousarray(padded[top : top + height, left : left + width]))


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of the picture, resized to a square (Szegedy et al. 2014, sec. 6; torchvision's rule). For
    pictures with a class alone.

    Attributes:
        size: side of the result, pixels.
        area: least and largest share of the picture's area.
        ratio: least and largest width / height.
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    sets_size = True  # what it gives is for the network as it is, also where the file had that size already

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"size must be a whole number of at least 1, not {self.size}")
        for name, most in (("area", 1.0), ("ratio", float("inf"))):
            pair = getattr(self, name)
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
                raise ValueError(f"{name} must be two numbers above 0, the smaller first, not {pair}")

    def __call__(self, sample: Sample) -> Sample:
        _require_label_alone(sample, "RandomResizedCrop")
        height, width = sample.image.shape[:2]
        part = None
        for attempt in range(10):
            draws = [uniform(sample.seed, _CROP + 8 * attempt + k) for k in range(4)]
            share = self.area[0] + draws[0] * (self.area[1] - self.area[0])
            low, high = np.log(self.ratio[0]), np.log(self.ratio[1])
            ratio = float(np.exp(low + draws[1] * (high - low)))
            w, h = round((share * height * width * ratio) ** 0.5), round((share * height * width / ratio) ** 0.5)
            if 0 < w <= width and 0 < h <= height:
                top, left = int(draws[2] * (height - h + 1)), int(draws[3] * (width - w + 1))
                part = sample.image[top : top + h, left : left + w]
                break
        if part is None:  # an extreme shape: the largest part of the middle with an allowed ratio
            h, w = min(height, round(width / self.ratio[0])), min(width, round(height * self.ratio[1]))
            top, left = (height - h) // 2, (width - w) // 2
            part = sample.image[top : top + h, left : left + w]
        return replace(sample, image=resize_image(np.ascontiguousarray(part), (self.size, self.size)))


def _require_label_alone(sample: Sample, name: str) -> None:
    truth = sample.truth
    if len(truth.boxes) or truth.semantic is not None or sample.proposals is not None:
        raise ConfigError(f"augment: {name} is for classification; it does not move boxes and masks.")


class Unchanged:
    """No augmentation."""

    def __call__(self, sample: Sample) -> Sample:
        return sample


@dataclass(frozen=True)
class RandomFlip:
    """Mirrors left and right with probability `p`, up and down with probability `vertical` (for pictures without an
    up, such as those of a microscope). Needs no albumentations, whose import costs seconds."""

    p: float = 0.5
    vertical: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.p <= 1 and 0 <= self.vertical <= 1):
            raise ValueError(f"p must be 0 ... 1 (and vertical too), not {self.p} and {self.vertical}")

    def __call__(self, sample: Sample) -> Sample:
        if uniform(sample.seed, _FLIP) < self.p:
            sample = flip_horizontal(sample)
        return flip_vertical(sample) if uniform(sample.seed, _UPSIDE) < self.vertical else sample


@dataclass(frozen=True)
class TrainResize:
    """To network size. With several short sides one is drawn for each sample (multi-scale training).

    Attributes:
        short: wanted length of the short side, pixels, or a list to draw from.
        long: most that the long side may have, pixels.
    """

    short: int | Sequence[int]
    long: int

    def __post_init__(self) -> None:
        if not self.sides or not 1 <= min(self.sides) <= max(self.sides) <= self.long:
            raise ValueError(f"TrainResize needs 1 <= short <= long, not {self.short} and {self.long}")

    @property
    def sides(self) -> list[int]:
        """The short sides to draw from."""
        return [self.short] if isinstance(self.short, int) else list(self.short)

    def shape(self, size: tuple[int, int], seed: int) -> tuple[int, int]:
        """(height, width) of an image -> those at network size."""
        return resized_shape(size, self.sides[mix(seed, _SHORT) % len(self.sides)], self.long)

    def __call__(self, sample: Sample) -> Sample:
        height, width = sample.image.shape[:2]
        return resize(sample, self.shape((height, width), sample.seed))


def flip_horizontal(sample: Sample) -> Sample:
    """Left and right changed over. Applied twice, the sample is as it was."""
    return _flip(sample, axis=1)


def flip_vertical(sample: Sample) -> Sample:
    """Up and down changed over. Applied twice, the sample is as it was."""
    return _flip(sample, axis=0)


def _flip(sample: Sample, axis: int) -> Sample:
    """Mirrored along an axis of the image, 0 = vertical."""
    truth, side, columns = sample.truth, sample.image.shape[axis], [0, 2] if axis == 1 else [1, 3]
    turned = replace(
        truth,
        boxes=_mirror(truth.boxes, side, columns),
        masks=None if truth.masks is None else np.ascontiguousarray(np.flip(truth.masks, axis + 1)),
        semantic=None if truth.semantic is None else np.ascontiguousarray(np.flip(truth.semantic, axis)),
    )
    proposals = None if sample.proposals is None else _mirror(sample.proposals, side, columns)
    return replace(sample, image=np.ascontiguousarray(np.flip(sample.image, axis)), truth=turned, proposals=proposals)


def resize(sample: Sample, shape: tuple[int, int]) -> Sample:
    """The sample at `shape` (height, width). Masks take the nearest pixel; boxes scale by the true factors."""
    size = sample.image.shape[:2]
    if size == shape:
        return sample
    proposals = None if sample.proposals is None else _scale(sample.proposals, size, shape)
    truth = resize_truth(sample.truth, size, shape)
    return replace(sample, image=resize_image(sample.image, shape), truth=truth, proposals=proposals)


def resize_truth(truth: Truth, size: tuple[int, ...], shape: tuple[int, int]) -> Truth:
    """The truth of an image of `size` when the image is resized to `shape`, both (height, width)."""
    return replace(
        truth,
        boxes=_scale(truth.boxes, size, shape),
        masks=None if truth.masks is None else _nearest(truth.masks, shape),
        semantic=None if truth.semantic is None else _nearest(truth.semantic[None], shape)[0],
    )


def _scale(boxes: np.ndarray, size: tuple[int, ...], shape: tuple[int, int]) -> np.ndarray:
    factors = np.array([shape[1] / size[1], shape[0] / size[0]] * 2, np.float64)
    return (boxes * factors).astype(np.float32)  # (N, 4)


def _mirror(boxes: np.ndarray, side: int, columns: list[int]) -> np.ndarray:
    mirrored = boxes.copy()
    mirrored[:, columns] = side - boxes[:, columns[::-1]]
    return mirrored  # (N, 4)


def _nearest(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(N, H, W) of small integers -> (N, height, width), by pixel centres ("exact"), as the image is resized."""
    if len(maps) == 0:
        return np.zeros((0, *shape), maps.dtype)
    small = torch.from_numpy(maps.astype(np.uint8))[:, None]  # (N, 1, H, W)
    return F.interpolate(small, size=list(shape), mode="nearest-exact")[:, 0].numpy().astype(maps.dtype)

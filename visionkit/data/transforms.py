"""Flips and resizes a `Sample` as a whole: image, boxes, masks, semantic mask and proposals together.

What is drawn by chance is a function of `Sample.seed` alone, so a sample does not depend on worker, rank or history.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from visionkit.data.crop_plan import sized
from visionkit.ops.hashing import mix
from visionkit.ops.resize import resize_image, resized_shape
from visionkit.structures import Sample, Truth

# Streams: two draws from one seed must not be the same number. 3 is visionkit.data.augment's, 5 to 7 and from 1000 on
# are random_crops', 8 mixing's, 9 color_noise's.
_FLIP, _SHORT, _UPSIDE = 1, 2, 4


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

    def sized(self, side: int) -> "Chain":
        """Every step for a network that takes squares of `side` pixels; see `visionkit.data.crop_plan`."""
        return Chain([sized(step, side) for step in self.steps])

    def on_top_of(self, shape: Callable[[tuple[int, int]], tuple[int, int]]) -> "Chain":
        """Every step told how the model resizes pictures; see `visionkit.data.scale_crop`."""
        return Chain([step.on_top_of(shape) if hasattr(step, "on_top_of") else step for step in self.steps])

    def after_first(self, rest: Callable[[Sample], Sample] | None) -> "Chain":
        """The chain with `rest` (None = nothing) in the place of its first step."""
        return Chain([*(() if rest is None else (rest,)), *self.steps[1:]])


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
        points=None if truth.points is None else _mirror(truth.points, side, [columns[0]]),
    )
    proposals = None if sample.proposals is None else _mirror(sample.proposals, side, columns)
    image = cv2.flip(np.ascontiguousarray(sample.image), axis)  # numpy takes 30 times as long for a picture
    return replace(sample, image=image, truth=turned, proposals=proposals)


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
        points=None if truth.points is None else _scale_points(truth.points, size, shape),
    )


def _scale_points(points: np.ndarray, size: tuple[int, ...], shape: tuple[int, int]) -> np.ndarray:
    """x and y by their own factors, the kernel's deviation by the mean of both (geometric)."""
    across, down = shape[1] / size[1], shape[0] / size[0]
    return (points * np.array([across, down, (across * down) ** 0.5])).astype(np.float32)  # (P, 3)


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

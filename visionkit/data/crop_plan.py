"""A crop that is known before its picture is read: then only that part is decoded, and no larger than it is needed."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from visionkit.errors import ConfigError

SHRINKS = (8, 4, 2)  # a JPEG decoder gives 1/8, 1/4 or 1/2 of a picture for less than the whole


@dataclass(frozen=True)
class Window:
    """A part of a picture, in whole pixels of its file.

    Attributes:
        top, left, height, width: pixels.
        shrink: 1, 2, 4 or 8: at 1 / shrink of its size the part is still as large as it is needed. The four numbers
            are then multiples of it, so that the smaller picture has the very same part.
    """

    top: int
    left: int
    height: int
    width: int
    shrink: int = 1

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The part of a whole picture (H, W, 3); a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


class Crop(Protocol):
    """An augmentation that cuts a part out and resizes it to a square, which it can state before the picture is read.

    Its `__call__` does the same to a picture that is already there.
    """

    def window(self, size: tuple[int, int], seed: int) -> Window:
        """The part of a picture of (height, width) that a sample with this seed shows."""

    def resized(self, part: np.ndarray) -> np.ndarray:
        """The part (h, w, 3), of whatever size it was decoded to, at the size of the network."""


def shrinkable(window: Window, size: tuple[int, int], side: int) -> Window:
    """The window on the grid of the smallest decoding that leaves it at least `side` x `side` pixels.

    Its edges move by half of `shrink` at most (at the picture's end by less than `shrink`, where the last pixel of the
    small picture is not a whole one): less than a pixel of the result.
    """
    corners = (window.top, window.left, window.top + window.height, window.left + window.width)
    for shrink in SHRINKS:
        if min(window.height, window.width) < shrink * side:
            continue
        top, left, bottom, right = (
            min(round(corner / shrink), limit // shrink) * shrink
            for corner, limit in zip(corners, (*size, *size), strict=True)
        )
        if min(bottom - top, right - left) >= shrink * side:
            return Window(top, left, bottom - top, right - left, shrink)
    return window


def sized(augment: Any, side: int) -> Any:
    """The augmentation with the side of the network filled in where it has left its own open (`size: null`).

    ConfigError where it has another one.
    """
    return augment.sized(side) if hasattr(augment, "sized") else augment


def agreed(own: int | None, side: int, name: str) -> int:
    """The size that an augmentation called `name` gives; ConfigError when it is not the network's."""
    if own not in (None, side):
        raise ConfigError(
            f"augment: {name} gives pictures of {own} pixels (its key size), and the network takes {side} (task.size): "
            "set both alike, or leave the augmentation's at null."
        )
    return side


def leading_crop(augment: Any) -> tuple[Crop | None, Any]:
    """The crop that an augmentation begins with, and what follows it; (None, the whole) where it begins otherwise."""
    if hasattr(augment, "window"):
        return augment, None
    if hasattr(augment, "after_first") and augment.steps:
        crop, rest = leading_crop(augment.steps[0])
        return (None, augment) if crop is None else (crop, augment.after_first(rest))
    return None, augment

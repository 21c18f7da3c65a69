"""How a picture gets to the square that a classifier takes: the short side resized, the middle cut out."""

from dataclasses import dataclass

import numpy as np

from visionkit.ops.resize import resize_image


@dataclass(frozen=True)
class CenterCrop:
    """The rule a classifier is tested with; it travels in the checkpoint. 256 and 224 are ImageNet's usual ones.

    Attributes:
        short: the short side is resized to this, pixels.
        size: side of the square cut out of the middle, pixels.
    """

    short: int
    size: int

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.short:
            raise ValueError(f"CenterCrop needs 1 <= size <= short, not {self}")

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the file -> (height, width) after resizing, before the cut; torchvision's rounding."""
        height, width = size
        if height <= width:
            return self.short, max(self.short, int(self.short * width / height))
        return max(self.short, int(self.short * height / width)), self.short

    def corner(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) after resizing -> (top, left) of the square, pixels."""
        top, left = (round((side - self.size) / 2) for side in size)
        return top, left

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """The same square for every file."""
        return self.size, self.size

    def resized(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> the picture with its short side at `short`, before anything is cut off."""
        left, top, right, bottom = middle((image.shape[0], image.shape[1]))
        image = image[top:bottom, left:right]
        return resize_image(image, self.shape((image.shape[0], image.shape[1])))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (size, size, 3) uint8."""
        resized = self.resized(image)  # (height, width, 3)
        top, left = self.corner((resized.shape[0], resized.shape[1]))
        return np.ascontiguousarray(resized[top : top + self.size, left : left + self.size])


def middle(size: tuple[int, int], most: int = 8) -> tuple[int, int, int, int]:
    """The middle of a picture of (height, width) that is more than `most` times as long as wide, x1 y1 x2 y2: the rest
    is cut off anyway, and resizing all of a picture of 2 x 6000 pixels would take gigabytes. Of others all."""
    height, width = size
    long = most * min(height, width)
    top, left = max(0, (height - long) // 2), max(0, (width - long) // 2)
    return left, top, min(width, left + long), min(height, top + long)

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

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """The same square for every file."""
        return self.size, self.size

    def resized(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> the picture with its short side at `short`, before anything is cut off."""
        image = _middle(image)
        return resize_image(image, self.shape((image.shape[0], image.shape[1])))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (size, size, 3) uint8."""
        resized = self.resized(image)  # (height, width, 3)
        top, left = (round((side - self.size) / 2) for side in resized.shape[:2])
        return np.ascontiguousarray(resized[top : top + self.size, left : left + self.size])


def _middle(image: np.ndarray, most: int = 8) -> np.ndarray:
    """The middle of a picture that is more than `most` times as long as wide: the rest is cut off anyway, and resizing
    all of a picture of 2 x 6000 pixels would take gigabytes."""
    height, width = image.shape[:2]
    long = most * min(height, width)
    top, left = max(0, (height - long) // 2), max(0, (width - long) // 2)
    return image[top : top + long, left : left + long]

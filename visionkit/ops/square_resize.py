"""How a picture gets to the square that a localizer takes: all of it, resized without regard to its shape."""

from dataclasses import dataclass

import numpy as np

from visionkit.ops.resize import resize_image


@dataclass(frozen=True)
class SquareResize:
    """The rule a localizer is tested with; it travels in the checkpoint.

    A cut-out middle would lose objects at the border. Stretching loses nothing that counts: both axes are scaled by
    factors of their own, and the IoU of two boxes is the same before and after.

    Attributes:
        size: side of the square, pixels.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"SquareResize needs a size of at least 1, not {self.size}")

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """The same square for every file of (height, width)."""
        return self.size, self.size

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (size, size, 3) uint8."""
        return resize_image(image, (self.size, self.size))

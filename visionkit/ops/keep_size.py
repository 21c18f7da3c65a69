"""No resizing: a picture stays as large as its file, and only its canvas is rounded up."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KeepSize:
    """The resizing rule of a model that takes pictures as they are; it travels in the checkpoint.

    Attributes:
        multiple: canvases are padded at the right and bottom to a multiple of this.
    """

    multiple: int = 1

    def __post_init__(self) -> None:
        if self.multiple < 1:
            raise ValueError(f"KeepSize needs multiple >= 1, not {self.multiple}")

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the file, which is that at network size."""
        return size

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the file -> (height, width) of the padded canvas; images may share a batch if equal."""
        height, width = size
        return -(-height // self.multiple) * self.multiple, -(-width // self.multiple) * self.multiple

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> itself."""
        return image

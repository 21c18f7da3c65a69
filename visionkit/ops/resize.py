"""How an image gets to network size. One function does it in training, evaluation and demo, so the pixels are equal."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


def resized_shape(size: tuple[int, int], short: int, long: int) -> tuple[int, int]:
    """The network size of an image: the short side becomes `short` unless the long side would then exceed `long`.

    The shorter side may come out one pixel under `short`, from the rounding down that torchvision's
    GeneralizedRCNNTransform has; it is kept for parity.

    Args:
        size: (height, width) in pixels, both at least 1.
        short, long: pixels.
    Returns:
        (height, width), each at least 1.
    """
    height, width = size
    factor = min(short / min(size), long / max(size))
    return max(1, int(height * factor)), max(1, int(width * factor))


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear resize, antialiased when shrinking, computed on uint8 in integers: the same bits at any thread count.

    Args:
        image: (H, W, 3) uint8.
        shape: (height, width) of the result.
    Returns:
        (height, width, 3) uint8, contiguous; the image itself when it has that shape and is contiguous.
    Raises:
        ValueError: the image is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"resize_image takes (H, W, 3) uint8, not {image.shape} {image.dtype}")
    image = np.ascontiguousarray(image)
    if image.shape[:2] == tuple(shape):
        return image
    if not image.flags.writeable:
        image = image.copy()  # torch warns about arrays that it could write to but must not
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]  # (1, 3, H, W), channels last in memory
    resized = F.interpolate(pixels, size=list(shape), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].permute(1, 2, 0).contiguous().numpy()  # (height, width, 3)


@dataclass(frozen=True)
class TestResize:
    """The resizing rule a model is tested with; it travels in the checkpoint.

    Attributes:
        short: wanted length of the short side, pixels.
        long: most that the long side may have, pixels.
        multiple: canvases are padded at the right and bottom to a multiple of this.
    """

    __test__ = False  # the name says when it is used; pytest shall not collect it

    short: int
    long: int
    multiple: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.short <= self.long or self.multiple < 1:
            raise ValueError(f"TestResize needs 1 <= short <= long and multiple >= 1, not {self}")

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the file -> (height, width) at network size."""
        return resized_shape(size, self.short, self.long)

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the file -> (height, width) of the padded canvas; images may share a batch if equal."""
        height, width = self.shape(size)
        return -(-height // self.multiple) * self.multiple, -(-width // self.multiple) * self.multiple

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, 3) uint8 at network size, not padded."""
        height, width = image.shape[:2]
        return resize_image(image, self.shape((height, width)))

"""A sample stretched to a square, its boxes with it: training's side of `ops.square_resize.SquareResize`."""

from dataclasses import dataclass

from visionkit.data.transforms import resize
from visionkit.structures import Sample


@dataclass(frozen=True)
class TrainSquare:
    """To network size. `DetectionDataset(index, augment, TrainSquare(224), seed)` is a localizer's training set.

    Attributes:
        size: side of the square, pixels.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"TrainSquare needs a size of at least 1, not {self.size}")

    def shape(self, size: tuple[int, int], seed: int) -> tuple[int, int]:
        """(height, width) of an image -> those at network size, the same for all."""
        return self.size, self.size

    def __call__(self, sample: Sample) -> Sample:
        return resize(sample, (self.size, self.size))

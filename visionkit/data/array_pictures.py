"""Pictures that lie as pixels in arrays, in memory or mapped from files: MNIST, CIFAR, digits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ArrayPictures:
    """N pictures of one or more arrays. One picture at a time is copied out, so a mapped file costs no memory."""

    arrays: tuple[np.ndarray, ...]  # each (N_a, H, W) gray or (N_a, H, W, 3) RGB, uint8, of any strides
    files: tuple[str, ...]  # what each array is called
    array: np.ndarray  # (N,) int32, which array a picture is in
    row: np.ndarray  # (N,) int64, and where in it

    @staticmethod
    def join(arrays: Sequence[np.ndarray], files: Sequence[str]) -> "ArrayPictures":
        """All pictures of the arrays, one array after the other."""
        for pixels in arrays:
            if pixels.dtype != np.uint8 or not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)):
                raise ValueError(f"pictures are (N, H, W) or (N, H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
        lengths = [len(pixels) for pixels in arrays]
        array = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        row = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths] or [np.zeros(0, np.int64)])
        return ArrayPictures(tuple(arrays), tuple(files), array, row)

    def __len__(self) -> int:
        return len(self.row)

    def read(self, i: int) -> np.ndarray:
        pixels = np.asarray(self.arrays[self.array[i]][self.row[i]])  # (H, W) or (H, W, 3)
        return pixels[:, :, None].repeat(3, axis=2) if pixels.ndim == 2 else np.array(pixels, order="C")

    def encoded(self, i: int) -> None:
        return None

    def name(self, i: int) -> str:
        return f"{self.files[self.array[i]]}[{self.row[i]}]"

    def select(self, rows: np.ndarray) -> "ArrayPictures":
        return ArrayPictures(self.arrays, self.files, self.array[rows], self.row[rows])

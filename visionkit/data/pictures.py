"""Where the pictures of an index lie: in files of their own, or, in other modules, in arrays and in tar shards."""

import os
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from visionkit.data.image import decode_image, read_bytes
from visionkit.data.ragged import Blobs


class Pictures(Protocol):
    """N pictures that can be read in any order by any process."""

    def __len__(self) -> int: ...

    def read(self, i: int) -> np.ndarray:
        """Picture i upright, (H, W, 3) uint8 RGB. DataError that names it when it cannot be read."""

    def encoded(self, i: int) -> bytes | None:
        """The bytes of its file (JPEG, PNG ...), to decode a part of it only; None where there is none."""

    def name(self, i: int) -> str:
        """What a person calls it: a path, a member of an archive, a position in a file."""

    def select(self, rows: np.ndarray) -> Self:
        """Some of the pictures, in the order of `rows` (N',)."""


@dataclass(frozen=True, eq=False)
class Files:
    """One file for each picture."""

    paths: Blobs  # N

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, i: int) -> np.ndarray:
        return decode_image(self.encoded(i), self.name(i))

    def encoded(self, i: int) -> bytes:
        return read_bytes(self.name(i))

    def name(self, i: int) -> str:
        return os.fsdecode(self.paths[i])

    def select(self, rows: np.ndarray) -> "Files":
        return Files(self.paths.select(rows))

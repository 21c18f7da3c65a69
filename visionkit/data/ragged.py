"""Ragged arrays: rows of different length, end to end, with the offsets where each begins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def to_offsets(lengths: np.ndarray) -> np.ndarray:
    """(N,) lengths -> (N + 1,) int64, row i being offsets[i] ... offsets[i + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def select_rows(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The flat positions of the given rows of a ragged array, and the offsets of the result."""
    lengths = (offsets[1:] - offsets[:-1])[rows]
    new = to_offsets(lengths)
    return np.arange(new[-1]) + np.repeat(offsets[rows] - new[:-1], lengths), new


@dataclass(frozen=True, eq=False)
class Blobs:
    """N byte strings end to end."""

    data: np.ndarray  # (total,) uint8
    offsets: np.ndarray  # (N + 1,) int64

    @staticmethod
    def pack(items: Sequence[bytes]) -> "Blobs":
        lengths = np.fromiter((len(b) for b in items), np.int64, len(items))
        return Blobs(np.frombuffer(b"".join(items), np.uint8), to_offsets(lengths))

    def __getitem__(self, i: int) -> bytes:
        return self.data[self.offsets[i] : self.offsets[i + 1]].tobytes()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def select(self, rows: np.ndarray) -> "Blobs":
        # Row by row: an array of all byte positions would weigh eight times the bytes.
        parts = [self.data[self.offsets[i] : self.offsets[i + 1]] for i in rows]
        data = np.concatenate(parts) if parts else self.data[:0]
        return Blobs(data, to_offsets((self.offsets[1:] - self.offsets[:-1])[rows]))

    @staticmethod
    def join(parts: Sequence["Blobs"]) -> "Blobs":
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return Blobs(np.concatenate([part.data for part in parts]), to_offsets(lengths))

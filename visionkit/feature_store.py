"""The features of all training regions on disk, as R-CNN keeps them between its stages (sec. 2.3, app. B).

A folder holds `about.json`, `vectors.bin` (every region's vector, image after image), `windows.bin` (what the box
regressors see, of the regions that overlap an object enough) and `images.bin` (a checksum for each image that is
done). It is named after the digest of all that the numbers depend on: an interrupted pass goes on where it stopped, and
other weights, settings, images or proposals never meet it.
"""

import hashlib
import json
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.errors import ConfigError, DataError
from visionkit.evaluation.files import read_json, write_json

FORMAT = 1
VECTORS, WINDOWS, IMAGES, ABOUT = "vectors.bin", "windows.bin", "images.bin", "about.json"
RECORD = np.dtype(
    [("done", "u4"), ("vectors", "u4"), ("windows", "u4"), ("unused", "u4"), ("norm", "f8"), ("window_norm", "f8")]
)  # of an image: whether it is done, two checksums, and the sums of the lengths of its regions' vectors and windows
ROOM_LEFT = 64 << 20  # bytes of the disk that are left alone


@dataclass(frozen=True)
class Layout:
    """What a store holds, known before a network has seen anything."""

    offsets: np.ndarray  # (N + 1,) int64: the regions of image i are rows offsets[i] ... offsets[i + 1] of the vectors
    pair_offsets: np.ndarray  # (N + 1,) int64: its pairs are these rows of the windows
    channels: int  # C
    window_channels: int  # D
    dtype: str  # "float16" or "float32"

    @property
    def bytes(self) -> int:
        width = np.dtype(self.dtype).itemsize
        vectors, windows = int(self.offsets[-1]) * self.channels, int(self.pair_offsets[-1]) * self.window_channels
        return (vectors + windows) * width + RECORD.itemsize * (len(self.offsets) - 1)


class FeatureStore:
    """Writes the features of images one by one, in any order and from several processes; reads them back checked.

    Args:
        folder: its own; made by `create`.
        layout: as it was created with.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout = folder, layout

    def __len__(self) -> int:
        return len(self.layout.offsets) - 1

    @classmethod
    def create(cls, folder: Path, layout: Layout, about: dict[str, Any]) -> "FeatureStore":
        """Takes up the store in the folder, or begins one; `about` says in plain values what the features depend on.

        Raises:
            ConfigError: the disk has not the room, or the folder cannot be written.
            DataError: the folder holds something else.
        """
        store = cls(folder, layout)
        about = {"format": FORMAT, "bytes": layout.bytes, **about}
        try:
            if (folder / ABOUT).exists():
                store._require_same(about)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                for name in (VECTORS, WINDOWS):
                    (folder / name).touch()
                (folder / IMAGES).write_bytes(bytes(RECORD.itemsize * len(store)))
            store._require_room()
            write_json(folder / ABOUT, about, indent=1)
        except OSError as error:
            raise ConfigError(f"features cannot be kept in {folder} ({error.strerror or error}).") from error
        return store

    def _require_same(self, about: dict[str, Any]) -> None:
        found = read_json(self.folder / ABOUT)
        size = (self.folder / IMAGES).stat().st_size if (self.folder / IMAGES).exists() else -1
        if found != json.loads(json.dumps(about)) or size != RECORD.itemsize * len(self):
            raise DataError(f"{self.folder}: holds other features than its name says: delete this folder.")

    def _require_room(self) -> None:
        there = sum((self.folder / name).stat().st_blocks * 512 for name in (VECTORS, WINDOWS, IMAGES))
        free = shutil.disk_usage(self.folder).free - ROOM_LEFT
        if self.layout.bytes - there > free:
            raise ConfigError(
                f"the features of {len(self)} images take {gigabytes(self.layout.bytes)}, and {self.folder} has room "
                f"for {gigabytes(max(0, free) + there)}: set the fit's folder to another disk, or task.max_proposals "
                "lower."
            )

    def missing(self) -> list[int]:
        """The images that are not done, ascending."""
        return np.flatnonzero(self._records()["done"] == 0).tolist()

    def write(self, i: int, vectors: np.ndarray, windows: np.ndarray, lengths: tuple[float, float]) -> None:
        """Keeps image i.

        Args:
            vectors: (R, C) of its regions.
            windows: (p, D) of its pairs.
            lengths: sums over all R regions of the lengths of the vectors, and of the windows.
        Raises:
            ConfigError: the disk is full.
        """
        stored = [np.ascontiguousarray(part, self.layout.dtype) for part in (vectors, windows)]
        places = (self._rows(i), self._pairs(i))
        try:
            for name, part, (first, last) in zip((VECTORS, WINDOWS), stored, places, strict=True):
                if len(part) != last - first:
                    raise ValueError(f"{name}: {len(part)} rows for {last - first} regions")
                with (self.folder / name).open("r+b") as file:
                    file.seek(first * part.itemsize * part.shape[1])
                    file.write(part.tobytes())
            record = np.array((1, *(zlib.crc32(part.tobytes()) for part in stored), 0, *lengths), RECORD)
            with (self.folder / IMAGES).open("r+b") as file:  # last: what it vouches for is written
                file.seek(i * RECORD.itemsize)
                file.write(record.tobytes())
        except OSError as error:
            raise ConfigError(f"features cannot be written to {self.folder} ({error.strerror or error}).") from error

    def vectors(self, i: int) -> np.ndarray:
        """(R, C) float32 of image i. DataError when they are not what was written."""
        return self._read(i, VECTORS, *self._rows(i), self.layout.channels)

    def windows(self, i: int) -> np.ndarray:
        """(p, D) float32 of image i's pairs. DataError when they are not what was written."""
        return self._read(i, WINDOWS, *self._pairs(i), self.layout.window_channels)

    def mean_norms(self) -> tuple[float, float]:
        """Mean lengths of a region's vector and of its window; 1 where all are zeros."""
        records = self._records()
        count = max(1, int(self.layout.offsets[-1]))
        return float(records["norm"].sum()) / count or 1.0, float(records["window_norm"].sum()) / count or 1.0

    def delete(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rows(self, i: int) -> tuple[int, int]:
        return int(self.layout.offsets[i]), int(self.layout.offsets[i + 1])

    def _pairs(self, i: int) -> tuple[int, int]:
        return int(self.layout.pair_offsets[i]), int(self.layout.pair_offsets[i + 1])

    def _records(self) -> np.ndarray:
        return np.fromfile(self.folder / IMAGES, RECORD)

    def _read(self, i: int, name: str, first: int, last: int, channels: int) -> np.ndarray:
        kind = np.dtype(self.layout.dtype)
        with (self.folder / name).open("rb") as file:
            file.seek(first * channels * kind.itemsize)
            data = file.read((last - first) * channels * kind.itemsize)
        wanted = np.fromfile(self.folder / IMAGES, RECORD, 1, offset=i * RECORD.itemsize)[0]
        if not wanted["done"] or zlib.crc32(data) != wanted["vectors" if name == VECTORS else "windows"]:
            raise DataError(f"{self.folder / name}: the features of image {i} are damaged: delete this folder.")
        return np.frombuffer(data, kind).reshape(last - first, channels).astype(np.float32)


def digest_of(about: dict[str, Any], *arrays: Any) -> str:
    """Sixteen hexadecimal digits of plain values and of the bytes of arrays."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data if isinstance(array, np.ndarray) else bytes(array))
    return digest.hexdigest()[:16]


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e6:.2f} MB"


def default_folder() -> Path:
    """`datasets/features` of the clone that this file lies in; of the current folder when the package is installed."""
    clone = Path(__file__).resolve().parents[1]
    return (clone if (clone / "pyproject.toml").is_file() else Path.cwd()) / "datasets" / "features"


def writable(folder: str | os.PathLike[str] | None) -> Path:
    """Where stores are kept."""
    return default_folder() if folder is None else Path(folder).expanduser().absolute()

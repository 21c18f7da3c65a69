"""Label maps whose classes are colours: a sky of (128, 128, 128), a road of (128, 64, 128)."""

import os
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.image import read_image
from visionkit.data.label_maps import relabel
from visionkit.data.ragged import Blobs
from visionkit.errors import DataError


@dataclass(frozen=True, eq=False)
class ColorMaps:
    """RGB files; those with a palette are read by its colours. See `LabelMaps`."""

    paths: Blobs  # N
    codes: np.ndarray  # (C,) int32, ascending: red, green and blue as one number, see `pack_colors`
    labels: np.ndarray  # (C,) int64: the label of each; 255 = ignore

    @staticmethod
    def of(paths: Blobs, colors: np.ndarray, labels: np.ndarray) -> "ColorMaps":
        """From C colours (C, 3), all different, and the label (C,) of each, 255 = ignore."""
        codes = pack_colors(colors)
        order = np.argsort(codes)
        return ColorMaps(paths, codes[order], np.asarray(labels, np.int64)[order])

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        return os.fsdecode(self.paths[i])

    def read(self, i: int) -> np.ndarray:
        found = pack_colors(read_image(self.name(i)))  # (H, W)
        places = np.minimum(np.searchsorted(self.codes, found), len(self.codes) - 1)  # (H, W)
        unknown = self.codes[places] != found  # (H, W)
        if unknown.any():
            raise self._error(self.name(i), found[unknown])
        return self.labels[places]

    def select(self, rows: np.ndarray) -> "ColorMaps":
        return replace(self, paths=self.paths.select(rows))

    def relabelled(self, table: np.ndarray) -> "ColorMaps":
        return replace(self, labels=relabel(self.labels, table))

    def _error(self, name: str, codes: np.ndarray) -> DataError:
        """For the pixels of unknown colour, the most frequent one named."""
        values, counts = np.unique(codes, return_counts=True)
        code, count = int(values[counts.argmax()]), int(counts.max())
        more = f", nor do {len(values) - 1:,} others ({len(codes):,} pixels in all)" if len(values) > 1 else ""
        lossy = name.lower().endswith((".jpg", ".jpeg"))
        return DataError(
            f"{name}: the colour ({code >> 16}, {code >> 8 & 255}, {code & 255}) stands for no class "
            f"({count:,} pixels){more}{'; a JPEG file changes colours, so PNG is wanted' if lossy else ''}."
        )


def pack_colors(colors: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 RGB -> (...,) int32, one number for each colour."""
    wide = np.asarray(colors, np.uint8)
    code = wide[..., 0].astype(np.int32)
    code <<= 8
    code |= wide[..., 1]
    code <<= 8
    code |= wide[..., 2]
    return code

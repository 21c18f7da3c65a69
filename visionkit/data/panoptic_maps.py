"""Label maps in COCO's panoptic PNG files: colours are numbers of segments, and a JSON file has their classes."""

import os
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.image import read_image
from visionkit.data.label_maps import IGNORE, relabel
from visionkit.data.ragged import Blobs, select_rows
from visionkit.errors import DataError


@dataclass(frozen=True, eq=False)
class PanopticMaps:
    """RGB files whose pixels R + 256 G + 256^2 B are numbers of segments; 0 = void, which is ignored (Kirillov et al.
    2019, and the format's page on cocodataset.org). The segments of a picture are ascending. See `LabelMaps`."""

    paths: Blobs  # N
    segments: np.ndarray  # (S,) int32, those of picture i at offsets[i] ... offsets[i + 1], ascending
    labels: np.ndarray  # (S,) uint8: the label of each; 255 = ignore
    offsets: np.ndarray  # (N + 1,) int64

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        return os.fsdecode(self.paths[i])

    def read(self, i: int) -> np.ndarray:
        rows = slice(self.offsets[i], self.offsets[i + 1])
        known = np.concatenate([np.zeros(1, np.int32), self.segments[rows]])  # 0 is void
        labels = np.concatenate([np.full(1, IGNORE, np.int64), self.labels[rows].astype(np.int64)])
        image = read_image(self.name(i))
        found = image[..., 0] | image[..., 1].astype(np.int32) << 8 | image[..., 2].astype(np.int32) << 16  # (H, W)
        places = np.minimum(np.searchsorted(known, found), len(known) - 1)  # (H, W)
        unknown = known[places] != found
        if unknown.any():
            first = int(found[unknown][0])
            raise DataError(
                f"{self.name(i)}: the segment {first} is not among the picture's segments_info "
                f"({(found == first).sum():,} pixels)."
            )
        return labels[places]

    def select(self, rows: np.ndarray) -> "PanopticMaps":
        flat, offsets = select_rows(self.offsets, rows)
        return PanopticMaps(self.paths.select(rows), self.segments[flat], self.labels[flat], offsets)

    def relabelled(self, table: np.ndarray) -> "PanopticMaps":
        return replace(self, labels=relabel(self.labels, table).astype(np.uint8))

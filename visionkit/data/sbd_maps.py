"""Label maps in the .mat files of SBD, the Semantic Boundaries Dataset (Hariharan et al. 2011)."""

import io
import os
from dataclasses import dataclass, replace

import numpy as np

from visionkit.data.image import read_bytes
from visionkit.data.label_maps import apply_table, relabel
from visionkit.data.ragged import Blobs
from visionkit.errors import DataError


@dataclass(frozen=True, eq=False)
class SbdMaps:
    """Files `cls/*.mat`, whose GTcls.Segmentation holds VOC's numbers, (H, W) uint8 without void. See `LabelMaps`."""

    paths: Blobs  # N
    table: np.ndarray  # (256,) int64: the label of every value; 255 = ignore, -1 = no class

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        return os.fsdecode(self.paths[i])

    def read(self, i: int) -> np.ndarray:
        return apply_table(read_sbd(self.name(i)), self.table, self.name(i))

    def select(self, rows: np.ndarray) -> "SbdMaps":
        return replace(self, paths=self.paths.select(rows))

    def relabelled(self, table: np.ndarray) -> "SbdMaps":
        return replace(self, table=relabel(self.table, table))


def read_sbd(path: str) -> np.ndarray:
    """GTcls.Segmentation of a file, (H, W) uint8. DataError when it is missing or broken, or has no such thing."""
    from scipy.io import loadmat

    data = read_bytes(path)
    try:
        content = loadmat(io.BytesIO(data), variable_names=["GTcls"])
        values = np.asarray(content["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # scipy raises ValueError, TypeError, zlib.error and others for broken files
        raise DataError(f"{path} is no file of SBD, with GTcls.Segmentation ({str(error).rstrip('.')}).") from None
    if values.ndim != 2 or values.dtype != np.uint8:
        raise DataError(f"{path}: GTcls.Segmentation is {values.shape} {values.dtype}, and (H, W) uint8 is wanted.")
    return values

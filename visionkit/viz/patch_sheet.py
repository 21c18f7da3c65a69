"""Sheets of the patches that excite units most, and beside them what in each did it (Zeiler and Fergus, fig. 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionkit.viz.mosaic import mosaic
from visionkit.viz.neighbours import thumbnail

SIDE = 96  # of a patch's place, pixels
PADDING = 128  # gray of what lies outside the picture


@dataclass(frozen=True)
class Unit:
    """What is shown of a unit.

    Attributes:
        title: a line above its patches.
        patches: (h, w, 3) uint8 each, the most exciting first.
        projections: the same boxes of what was projected back to the pixels; none where that was not asked for.
    """

    title: str
    patches: Sequence[np.ndarray]
    projections: Sequence[np.ndarray] = ()


def patch_sheet(units: Sequence[Unit], columns: int | None = None, side: int = SIDE) -> np.ndarray:
    """One picture (H, W, 3) uint8: for each unit a square of patches, and beside it one of projections if it has them.

    Args:
        columns: units in a row; by default 2 with projections, 4 without.
        side: of a patch's place; patches are enlarged by whole numbers or made smaller.
    """
    projected = any(unit.projections for unit in units)
    blocks = [_block(unit, side, projected) for unit in units]
    titles = [unit.title for unit in units]
    return mosaic(blocks, columns or (2 if projected else 4), titles=titles, gap=10)


def _block(unit: Unit, side: int, projected: bool) -> np.ndarray:
    squares = [_square(unit.patches, side)]
    if projected:
        squares.append(_square(unit.projections or [np.zeros((1, 1, 3), np.uint8)] * len(unit.patches), side))
    return np.concatenate(squares, axis=1)


def _square(images: Sequence[np.ndarray], side: int) -> np.ndarray:
    columns = max(1, int(np.ceil(np.sqrt(len(images)))))
    return mosaic([thumbnail(image, side) for image in images], columns, (side, side), gap=2)


def cut(image: np.ndarray, box: tuple[int, int, int, int], fill: int = PADDING) -> np.ndarray:
    """The box x1 y1 x2 y2, whole pixels, of a picture (H, W, C): (y2 - y1, x2 - x1, C), filled where it sticks out."""
    x1, y1, x2, y2 = box
    height, width = image.shape[:2]
    found = np.full((max(0, y2 - y1), max(0, x2 - x1), *image.shape[2:]), fill, image.dtype)
    top, left, bottom, right = max(y1, 0), max(x1, 0), min(y2, height), min(x2, width)
    if top < bottom and left < right:
        found[top - y1 : bottom - y1, left - x1 : right - x1] = image[top:bottom, left:right]
    return found

"""Sheets of pictures beside what was found alike: a row for each query."""

from collections.abc import Sequence

import cv2
import numpy as np

from visionkit.viz.mosaic import mosaic

SIDE = 144  # of a picture's place, pixels
FRAME = 4  # pixels around a query
Titled = tuple[np.ndarray, str]  # (H, W, 3) uint8 RGB; a line of text


def thumbnail(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(H, W, 3) uint8 to about `side` pixels: enlarged by a whole number where that fits, or made smaller."""
    longest = max(1, *image.shape[:2])
    if longest > side:
        height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    factor = side // longest
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def neighbour_sheet(rows: Sequence[tuple[Titled, Sequence[Titled]]]) -> np.ndarray:
    """One picture (H, W, 3) uint8: in each row a framed query, then what was found for it, the nearest first.

    Rows may differ in length.
    """
    columns = 1 + max([len(found) for _, found in rows], default=0)
    blank: Titled = (np.zeros((0, 0, 3), np.uint8), "")
    cells: list[Titled] = []
    for (image, title), found in rows:
        cells += [(_framed(thumbnail(image, SIDE - 2 * FRAME)), title), *found]
        cells += [blank] * (columns - 1 - len(found))
    pictures = [thumbnail(image) if image.size else image for image, _ in cells]
    return mosaic(pictures, columns, (SIDE, SIDE), [title for _, title in cells], gap=6)


def _framed(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)), constant_values=240)

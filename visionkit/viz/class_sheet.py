"""A sheet of pictures with the classes that they have and that were found in them."""

from collections.abc import Sequence

import numpy as np

from visionkit.viz.mosaic import mosaic
from visionkit.viz.text import fit, font

LETTERS = 12  # height of the text in pixels, the mosaic's
Line = tuple[str, str]  # a text that may be shortened, and what has to stand after it, such as a number


def class_sheet(images: Sequence[np.ndarray], captions: Sequence[Sequence[Line]], side: int = 192) -> np.ndarray:
    """Pictures on a grid, each with lines of text above it.

    Args:
        images: (H, W, 3) uint8 RGB of any sizes; shown at most `side` pixels high and wide, small ones enlarged.
        captions: the lines of each picture.

    Returns: (H, W, 3) uint8 RGB; without pictures a single empty place.
    """
    return mosaic([_tile(image, lines, side) for image, lines in zip(images, captions, strict=True)])


def shortened(line: Line, width: float) -> str:
    """Both parts of the line, the first shortened until both fit: a long class name never hides its probability."""
    text, ending = line
    if not ending:
        return fit(text, LETTERS, width)
    return f"{fit(text, LETTERS, width - font(LETTERS).getlength(f' {ending}'))} {ending}"


def _tile(image: np.ndarray, lines: Sequence[Line], side: int) -> np.ndarray:
    factor = max(1, side // max(1, *image.shape[:2]))
    picture = image.repeat(factor, axis=0).repeat(factor, axis=1)
    picture = mosaic([picture], cell=(min(side, picture.shape[0]), side), gap=0)  # as wide as all others: text fits
    for line in reversed(lines):
        picture = mosaic([picture], titles=[shortened(line, side)], gap=0)
    return picture

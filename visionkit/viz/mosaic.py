"""Many pictures in one."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from visionkit.viz.text import fit, font


def mosaic(
    images: Sequence[np.ndarray],
    columns: int | None = None,
    cell: tuple[int, int] | None = None,
    titles: Sequence[str] | None = None,
    gap: int = 4,
    background: int = 32,
) -> np.ndarray:
    """Pictures (H, W, 3) uint8 RGB of any sizes on a grid, row by row.

    Args:
        columns: pictures in a row; about a square grid by default.
        cell: (height, width) of a place; the largest height and width by default. Larger pictures are made smaller,
            in proportion; smaller ones keep their size and stand in the middle.
        titles: a line of text above each picture.
        gap: pixels between and around the pictures; background: grey value 0 ... 255.

    Returns: (H, W, 3) uint8 RGB; without pictures a single empty place.
    """
    if titles is not None and len(titles) != len(images):
        raise ValueError("mosaic: one title for each picture")
    height, width = cell or (max([i.shape[0] for i in images], default=1), max([i.shape[1] for i in images], default=1))
    columns = max(1, columns or math.ceil(math.sqrt(len(images))))
    columns = min(columns, max(1, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    head = 0 if titles is None else 18
    step_y, step_x = height + head + gap, width + gap
    canvas = np.full((rows * step_y + gap, columns * step_x + gap, 3), background, dtype=np.uint8)
    for i, image in enumerate(images):
        small = _fit(image, height, width)
        h, w = small.shape[:2]
        top = gap + (i // columns) * step_y + head + (height - h) // 2
        left = gap + (i % columns) * step_x + (width - w) // 2
        canvas[top : top + h, left : left + w] = small
    if titles is None:
        return canvas
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    ink = (255, 255, 255) if background < 128 else (0, 0, 0)
    for i, title in enumerate(titles):
        spot = (gap + (i % columns) * step_x, gap + (i // columns) * step_y + head / 2)
        pen.text(spot, fit(title, 12, width), fill=ink, font=font(12), anchor="lm")
    return np.array(picture)


def _fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    h, w = image.shape[:2]
    factor = min(1.0, height / max(h, 1), width / max(w, 1))
    if factor == 1.0:
        return image
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

"""Pictures of label maps: in colours, as a veil over the picture, beside the truth; and which colour is which class."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from visionkit.viz.draw import legible_scale
from visionkit.viz.mosaic import mosaic
from visionkit.viz.palette import class_color
from visionkit.viz.text import fit, font

IGNORE = 255  # the label of pixels whose class is not known
VOID = (224, 224, 192)  # their colour in a colour map, VOC's
UNKNOWN = (128, 128, 128)  # and in a map of errors
WRONG = class_color(0)
_DIM = 0.35  # of the brightness of what is right
_LETTERS = 13  # height of a legend's text, pixels
_WIDEST = 240  # pixels of a legend's column, so that one long name does not take the room of many

Row = tuple[np.ndarray, np.ndarray, np.ndarray, str]  # picture (H, W, 3), true labels (H, W), found ones, name


def color_map(labels: np.ndarray, colors: Any) -> np.ndarray:
    """Labels (H, W) in the colours (K, 3) of their classes, (H, W, 3) uint8; 255 is `VOID`.

    Raises ValueError for a label that has no colour.
    """
    labels, table = np.asarray(labels), np.full((IGNORE + 1, 3), VOID, np.uint8)
    count = len(colors)
    if count > IGNORE:
        raise ValueError(f"label maps have {IGNORE} classes at most, not {count}")
    known = labels[labels != IGNORE]
    if known.size and not (known.min() >= 0 and known.max() < count):
        raise ValueError(f"labels go from {known.min()} to {known.max()}, and there are {count} colours")
    table[:count] = np.asarray(colors, np.uint8).reshape(count, 3)
    return table[labels]


def overlay(image: np.ndarray, labels: np.ndarray, colors: Any, alpha: float = 0.55) -> np.ndarray:
    """The picture under a veil of its classes' colours; pixels of 255 have none.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W), 0 ... K-1 or 255.
        colors: (K, 3) uint8 RGB.
        alpha: strength of the veil, 0 ... 1.
    Returns: (H, W, 3) uint8.
    """
    _same_size(image, labels)
    blended = (1 - alpha) * image + alpha * color_map(labels, colors)  # (H, W, 3)
    return np.where((labels == IGNORE)[:, :, None], image, blended.round().astype(np.uint8))


def error_map(image: np.ndarray, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Where the found labels (H, W) are wrong: red; elsewhere the picture (H, W, 3) uint8, dimmed and gray, and plain
    gray where the truth is not known (255)."""
    _same_size(image, truth, found)
    gray = (_DIM * cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)) if image.size else image[:, :, 0]
    picture = np.repeat(gray[:, :, None], 3, axis=2).astype(np.uint8)
    picture[truth != found] = WRONG
    picture[truth == IGNORE] = UNKNOWN
    return picture


def legend(names: Sequence[str], colors: Any, width: int, background: int = 32) -> np.ndarray:
    """Which colour is which class: (h, width, 3) uint8 RGB, as high as it has to be; without names nothing, h = 0.

    Args:
        names: N; long ones are shortened.
        colors: (N, 3) uint8 RGB.
        width: pixels.
        background: grey value 0 ... 255.
    """
    colors = np.asarray(colors, np.uint8).reshape(-1, 3)
    if len(colors) != len(names):
        raise ValueError(f"a legend needs a colour for each of its {len(names)} names, not {len(colors)}")
    line, patch = _LETTERS + 7, _LETTERS + 8  # pixels: height of a line, and from an entry's left end to its text
    longest = max([math.ceil(font(_LETTERS).getlength(name[:100])) for name in names], default=0)
    column = max(1, min(patch + longest + 14, _WIDEST, width))
    columns = max(1, width // column)
    column = max(1, width // columns)  # spread over the whole width
    picture = Image.new("RGB", (width, -(-len(names) // columns) * line), (background,) * 3)
    pen = ImageDraw.Draw(picture)
    ink = (255, 255, 255) if background < 128 else (0, 0, 0)
    for i, (name, color) in enumerate(zip(names, colors.tolist(), strict=True)):
        left, top = (i % columns) * column + 4, (i // columns) * line + 3
        pen.rectangle((left, top, left + _LETTERS, top + _LETTERS), fill=tuple(color), outline=(160, 160, 160))
        text = fit(name[:100], _LETTERS, column - patch - 6)
        pen.text((left + patch - 4, top + _LETTERS / 2), text, fill=ink, font=font(_LETTERS), anchor="lm")
    return np.array(picture).reshape(-1, width, 3)


def segmentation_sheet(rows: Sequence[Row], names: Sequence[str], colors: Any, side: int = 320) -> np.ndarray:
    """Pictures below one another, each with its true classes, those found, and the errors beside it; below them a
    legend of the classes that occur.

    Args:
        rows: picture (H, W, 3) uint8 RGB, true labels (H, W), found labels (H, W), the picture's name.
        names: K classes; colors: (K, 3) uint8 RGB.
        side: pixels of the longer side of a picture; small ones are enlarged by a whole factor.
    Returns: (h, w, 3) uint8 RGB; without pictures a single empty place.
    """
    colors = np.asarray(colors, np.uint8).reshape(-1, 3)
    pictures, titles = [], []
    present: set[int] = set()
    for image, truth, found, name in rows:
        _same_size(image, truth, found)
        labelled = truth != IGNORE
        share = f"{(truth == found)[labelled].mean():.1%} right" if labelled.any() else "nothing labelled"
        present |= set(np.unique(truth).tolist()) | set(np.unique(found).tolist())
        small, true, best = _shrunk(image, side), _shrunk(truth, side), _shrunk(found, side)
        pictures += [small, overlay(small, true, colors), overlay(small, best, colors), error_map(small, true, best)]
        titles += [name, "truth", "found", share]
    sheet = mosaic(pictures, columns=4, titles=titles)
    shown = sorted(present - {IGNORE})
    entries = [*(names[k] for k in shown), "wrong", "not labelled"]
    key = legend(entries, [*colors[shown], WRONG, UNKNOWN], sheet.shape[1])
    return np.concatenate([sheet, key]) if pictures else sheet


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) or labels (H, W) with about `side` pixels at the longer side; labels stay labels."""
    height, width = picture.shape[:2]
    factor = side / max(height, width, 1)
    if factor >= 1:
        scale = legible_scale((height, width), side)
        return picture.repeat(scale, axis=0).repeat(scale, axis=1)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if picture.ndim == 3:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(picture.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)


def _same_size(image: np.ndarray, *maps: np.ndarray) -> None:
    for labels in maps:
        if labels.shape != image.shape[:2]:
            raise ValueError(f"labels of {image.shape[:2]} pixels are wanted, as the picture has, not {labels.shape}")

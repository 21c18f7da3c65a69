"""A picture with the density of what was counted in it as heat."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from visionkit.viz.draw import legible_scale
from visionkit.viz.text import fit, font

_LETTERS = 14  # height of the text, pixels
_STRENGTH = 0.75  # of the heat where the density is highest
_AREA = 100 * 100  # pixels of the picture that densities are stated for


def density_picture(image: np.ndarray, density: np.ndarray, truth: float | None = None, side: int = 320) -> np.ndarray:
    """The picture under the density as heat, from nothing (no veil) over red to yellow where it is highest; above it
    the count, and what the highest density is.

    Args:
        image: (H, W, 3) uint8 RGB; small ones are enlarged by a whole factor, to about `side` pixels.
        density: (h, w) float, objects in each cell of a grid over the whole picture; values below 0 are part of the
            count and have no colour.
        truth: the true count, written beside the one found.
    Returns: (H * s + head, W * s, 3) uint8 RGB; the head's height does not depend on what was found.
    Raises:
        ValueError: a density that is no map.
    """
    density = np.asarray(density, np.float64)
    if density.ndim != 2:
        raise ValueError(f"a density is (h, w), not {density.shape}")
    scale = legible_scale((image.shape[0], image.shape[1]), side)
    canvas = image.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = canvas.shape[:2]
    found = density[np.isfinite(density)]
    highest = float(found.max()) if found.size and found.max() > 0 else 0.0
    if highest and canvas.size:
        cells = np.nan_to_num(density / highest, nan=0.0, posinf=0.0, neginf=0.0).clip(0, 1)
        shares = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)  # (H, W)
        veil = (_STRENGTH * np.sqrt(shares))[:, :, None]  # the root: what is thin is seen too
        canvas = ((1 - veil) * canvas + veil * heat(shares)).round().astype(np.uint8)
    count = f"count {density.sum():.1f}" + ("" if truth is None else f", truth {truth:g}")
    cell = image.shape[0] * image.shape[1] / max(density.size, 1)  # pixels of the picture in one cell
    return np.concatenate([_head(width, count, highest / max(cell, 1e-9) * _AREA), canvas])


def heat(shares: np.ndarray) -> np.ndarray:
    """0 ... 1 -> dark red over red and orange to yellow, (..., 3) float64 of 0 ... 255."""
    stops = np.array([[90, 0, 40], [220, 20, 30], [255, 140, 0], [255, 245, 80]], np.float64)
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(shares, places, stops[:, c]) for c in range(3)], axis=-1)


def _head(width: int, count: str, highest: float) -> np.ndarray:
    """The count, and the scale of the colours: (2 lines, width, 3) uint8."""
    line = _LETTERS + 8
    picture = np.full((2 * line, width, 3), 32, np.uint8)
    bar = min(120, width // 3)
    picture[line + 4 : 2 * line - 6, 4 : 4 + bar] = heat(np.linspace(0, 1, bar)).astype(np.uint8)[: max(width - 4, 0)]
    drawn = Image.fromarray(picture)
    pen = ImageDraw.Draw(drawn)
    scale = f"0 to {highest:.3g} in 100 x 100 px"
    for text, left, size, top in ((count, 4, _LETTERS, line // 2), (scale, bar + 10, _LETTERS - 2, 3 * line // 2 - 1)):
        pen.text((left, top), fit(text, size, width - left - 2), fill=(255, 255, 255), font=font(size), anchor="lm")
    return np.array(drawn)

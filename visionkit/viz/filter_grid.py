"""Grids of small pictures with a number above each: filters of a layer, its maps of one picture."""

from collections.abc import Sequence

import numpy as np

from visionkit.viz.mosaic import mosaic
from visionkit.viz.neighbours import thumbnail

ABOVE, BELOW = (255, 244, 214), (90, 150, 255)  # colours of the strongest values above and below 0; 0 is black


def filter_grid(filters: np.ndarray, side: int = 64, columns: int | None = None) -> np.ndarray:
    """Pictures of filters (N, h, w, 3) uint8 on a grid, enlarged by a whole number to about `side` pixels.

    Returns: (H, W, 3) uint8; without filters a single empty place.
    """
    return mosaic([enlarged(one, side) for one in filters], columns, gap=3)


def map_grid(image: np.ndarray, maps: np.ndarray, channels: Sequence[int], side: int = 112) -> np.ndarray:
    """A picture, then maps that a layer makes of it, each with its channel and its strongest value above it.

    Every map has its own scale, or most of them would be black: values above 0 up to near white, those below 0 down to
    blue.

    Args:
        image: (H, W, 3) uint8.
        maps: (N, h, w) float; channels: N numbers.
    Returns: (H', W', 3) uint8.
    """
    pictures, titles = [thumbnail(image, side)], ["picture"]
    for channel, values in zip(channels, maps, strict=True):
        pictures.append(thumbnail(signed_picture(values), side))
        titles.append(f"{channel}: {values.max():.3g}" if values.size else f"{channel}")
    return mosaic(pictures, titles=titles, cell=(side, side))


def signed_picture(values: np.ndarray) -> np.ndarray:
    """(h, w) float of any sign -> (h, w, 3) uint8: 0 is black, the largest magnitude near white, or blue below 0."""
    most = float(np.abs(values).max()) if values.size else 0.0
    shares = values[:, :, None] / (most or 1.0)  # -1 ... 1
    colors = np.where(shares >= 0, shares * np.array(ABOVE), -shares * np.array(BELOW))
    return colors.round().astype(np.uint8)


def filter_pictures(weights: np.ndarray, together: bool = False) -> np.ndarray:
    """Filters as pictures (Krizhevsky et al. 2012, fig. 3): what each answers to most, around middle gray.

    A weight of 0 is middle gray and the largest magnitude black or white, so that signs can be seen; the channels of a
    filter share one scale, or its colours would mean nothing.

    Args:
        weights: (N, C, h, w) float.
        together: one scale for all filters, which shows which of them are weak; else each has its own.
    Returns:
        (N, h, w, 3) uint8 for three channels, RGB; else (N * C, h, w, 3), a gray picture for each channel, those of a
        filter one after the other. A filter of zeros is gray.
    """
    if weights.shape[1] != 3:
        scaled = [around_gray(weights)] if together else [around_gray(one[None]) for one in weights]
        gray = np.concatenate([*scaled, np.zeros((0, *weights.shape[1:]), np.uint8)])  # (N, C, h, w)
        return np.repeat(gray.reshape(-1, *gray.shape[2:], 1), 3, axis=3)  # (N * C, h, w, 3)
    colors = weights.transpose(0, 2, 3, 1)  # (N, h, w, 3)
    if together or not len(colors):
        return around_gray(colors)
    return np.stack([around_gray(one) for one in colors])


def around_gray(values: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Values of any sign -> uint8 of the same shape: 0 is middle gray, the largest magnitude black or white; nothing
    but zeros is gray all over.

    Args:
        share: of the magnitudes that are told apart; the rest, the largest, are black or white too. A few extreme
            pixels would leave the others gray.
    """
    sizes = np.abs(values)
    most = float(np.quantile(sizes, share)) if values.size else 0.0
    most = most or (float(sizes.max()) if values.size else 0.0)  # of a few values that are not 0
    return (127.5 + 127.5 * np.clip(values / (most or 1.0), -1, 1)).round().astype(np.uint8)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """(h, w, 3) by the largest whole number that keeps its longer side within `side` pixels; at least 1."""
    factor = max(1, side // max(1, *image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)

"""What selective search compares regions by: size, box, colour and texture histograms (Uijlings et al., sec. 3.2.2).

Histograms hold counts of pixels, so that those of a joined region are plain sums and nothing is ever rounded.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, gaussian_filter1d

COLOR_BINS = 25
TEXTURE_BINS = 10
ORIENTATIONS = 8


@dataclass(frozen=True, eq=False)
class RegionFeatures:
    """R regions of an image and the pairs that touch."""

    sizes: np.ndarray  # (R,) int64, pixels
    boxes: np.ndarray  # (R, 4) int64, x1 y1 x2 y2
    colors: np.ndarray  # (R, C * 25) int64
    textures: np.ndarray  # (R, C * 8 * 10) int64
    pairs: np.ndarray  # (E, 2) int64, the lower number first, sorted


def color_bins(channels: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 in 0 ... 255 -> (C, H * W) uint8 in 0 ... 24."""
    bins = np.minimum(channels * np.float32(COLOR_BINS / 256), COLOR_BINS - 1).astype(np.uint8)
    return np.ascontiguousarray(bins.reshape(-1, channels.shape[2]).T)


def texture_bins(channels: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Gaussian derivatives in 8 directions: (H, W, C) float32 -> (C * 8, H * W) uint8 in 0 ... 9.

    A derivative counts where the image rises in its direction and is 0 where it falls, since the opposite direction has
    it. The bins of a channel divide 0 ... its largest derivative.
    """
    height, width, count = channels.shape
    bins = np.empty((count, ORIENTATIONS, height, width), np.uint8)
    for c in range(count):
        plane = np.ascontiguousarray(channels[..., c])
        right = _derivative(plane, sigma, axis=1)
        down = _derivative(plane, sigma, axis=0)
        half = np.float32(np.sqrt(0.5))  # any direction's derivative follows from these two (steerable filters)
        rising = (right, (right + down) * half, down, (down - right) * half)
        largest = max(float(np.abs(rise).max()) for rise in rising)
        scale = np.float32(TEXTURE_BINS / max(largest, 1.0))
        for direction, rise in enumerate(rising):
            steps = rise * scale
            bins[c, direction] = np.clip(steps, 0, TEXTURE_BINS - 1)
            bins[c, direction + 4] = np.clip(-steps, 0, TEXTURE_BINS - 1)
    return bins.reshape(count * ORIENTATIONS, -1)


def region_features(labels: np.ndarray, colors: np.ndarray, textures: np.ndarray) -> RegionFeatures:
    """Features of the regions of `labels` (H, W) int32, 0 ... R-1, each with a pixel at least.

    `colors` and `textures` are what `color_bins` and `texture_bins` make of the same image.
    """
    places = find_objects(labels + 1)
    boxes = np.array([[x.start, y.start, x.stop, y.stop] for y, x in places], np.int64)
    flat = labels.ravel().astype(np.int64)
    count = len(boxes)
    return RegionFeatures(
        sizes=np.bincount(flat, minlength=count),
        boxes=boxes,
        colors=_histograms(flat, count, colors, COLOR_BINS),
        textures=_histograms(flat, count, textures, TEXTURE_BINS),
        pairs=_touching(labels, count),
    )


def _derivative(plane: np.ndarray, sigma: float, axis: int) -> np.ndarray:
    """Of a smoothed image along one axis."""
    smooth = gaussian_filter1d(plane, sigma, axis=1 - axis, mode="nearest")
    result: np.ndarray = gaussian_filter1d(smooth, sigma, axis=axis, order=1, mode="nearest")
    return result


def _histograms(labels: np.ndarray, count: int, maps: np.ndarray, bins: int) -> np.ndarray:
    """Labels (N,) and M maps (M, N) of bins -> (count, M * bins) int64 pixels."""
    start = labels * bins
    each = [np.bincount(start + one, minlength=count * bins).reshape(count, bins) for one in maps]
    return np.concatenate(each, axis=1)


def _touching(labels: np.ndarray, count: int) -> np.ndarray:
    """(E, 2) int64: regions with pixels side by side or corner to corner."""
    sides = (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    )
    keys = []
    for one, other in sides:
        differs = one != other
        a, b = one[differs].astype(np.int64), other[differs].astype(np.int64)
        keys.append(np.minimum(a, b) * count + np.maximum(a, b))
    pairs = np.unique(np.concatenate(keys))
    return np.stack((pairs // count, pairs % count), axis=1)

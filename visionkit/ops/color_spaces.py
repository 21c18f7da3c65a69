"""Colour spaces in which selective search looks for regions (Uijlings et al., IJCV 2013, sec. 3.2).

Every function takes (H, W, 3) uint8 RGB and gives (H, W, C) float32 with all channels in 0 ... 255, so that one
threshold of the segmentation serves all.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

_TO_XYZ = np.array(  # sRGB to XYZ under D65, each row divided by the white point's share
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.95047], [1.0], [1.08883]])


def hsv(image: np.ndarray) -> np.ndarray:
    """Hue (a full turn is 256), saturation and value."""
    rgb = image.astype(np.float32)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = rgb.max(axis=2)
    spread = value - rgb.min(axis=2)
    safe = np.where(spread == 0, np.float32(1), spread)
    sector = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )  # -1 ... 5, sixths of a turn; 0 for grays
    hue = np.where(sector < 0, sector + 6, sector) * np.float32(256 / 6)
    saturation = spread / np.maximum(value, 1) * 255
    return np.stack((np.minimum(hue, 255), saturation, value), axis=2)


def lab(image: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of sRGB under D65; L* times 2.55, a* and b* plus 128."""
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)
    rgb = linear[image]  # (H, W, 3), linear light
    rows = _TO_XYZ.astype(np.float32)
    # Weighted sums instead of a matrix product: BLAS may round otherwise with other threads.
    x, y, z = (rgb[..., 0] * row[0] + rgb[..., 1] * row[1] + rgb[..., 2] * row[2] for row in rows)
    fx, fy, fz = (np.where(t > 0.008856, np.cbrt(t), t * np.float32(7.787) + np.float32(16 / 116)) for t in (x, y, z))
    channels = ((116 * fy - 16) * np.float32(2.55), 500 * (fx - fy) + 128, 200 * (fy - fz) + 128)
    result: np.ndarray = np.clip(np.stack(channels, axis=2), 0, 255)
    return result


def rgi(image: np.ndarray) -> np.ndarray:
    """Red and green as parts of the sum of all three, and intensity."""
    rgb = image.astype(np.float32)
    total = rgb.sum(axis=2)
    safe = np.maximum(total, 1)
    return np.stack((rgb[..., 0] / safe * 255, rgb[..., 1] / safe * 255, total / 3), axis=2)


def hue(image: np.ndarray) -> np.ndarray:
    """The hue alone, one channel."""
    return np.ascontiguousarray(hsv(image)[..., :1])


def intensity(image: np.ndarray) -> np.ndarray:
    """The weighted mean of the three colours that television uses, one channel."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    rgb = image.astype(np.float32) * weights
    gray: np.ndarray = (rgb[..., :1] + rgb[..., 1:2]) + rgb[..., 2:]
    return gray


COLOR_SPACES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {"hsv": hsv, "lab": lab, "rgi": rgi, "hue": hue, "intensity": intensity}
)

"""What each class counts in the loss of a segmenter, so that a rare one is not drowned out by road and sky."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionkit.data.segmentation import SegmentationIndex
from visionkit.errors import ConfigError

METHODS = ("median_frequency", "inverse", "none")


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """How often each class of a split is seen."""

    pixels: np.ndarray  # (K,) int64
    where_present: np.ndarray  # (K,) int64: labelled pixels, of any class, in the pictures that show the class


def count_pixels(index: SegmentationIndex) -> PixelCounts:
    """Reads every label map once. Ignored pixels count nowhere."""
    classes = len(index.names)
    pixels, where_present = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for i in range(len(index)):
        counts = np.bincount(index.semantic(i).ravel(), minlength=256)[:classes]  # (K,)
        pixels += counts
        where_present[counts > 0] += counts.sum()
    return PixelCounts(pixels, where_present)


def weights_from(counts: PixelCounts, method: str) -> np.ndarray:
    """(K,) float32, finite and above 0; a class that is never seen gets 1, whatever the method.

    Args:
        counts: of a training split.
        method: "median_frequency": the median of all classes' frequencies over the class's own, a frequency being the
            class's share of the pixels of those pictures that show it (Eigen & Fergus 2015; SegNet's too).
            "inverse": one over the class's share of all pixels, divided by the number of classes, so that the weights'
            mean over all pixels is 1. "none": 1.
    Raises:
        ConfigError: another method.
    """
    _check_method(method)
    weights = np.ones(len(counts.pixels), np.float64)
    seen = counts.pixels > 0
    if method == "none" or not seen.any():
        return weights.astype(np.float32)
    pixels = counts.pixels[seen].astype(np.float64)
    if method == "median_frequency":
        frequencies = pixels / counts.where_present[seen]
        weights[seen] = np.median(frequencies) / frequencies
    else:
        weights[seen] = pixels.sum() / (len(pixels) * pixels)
    return weights.astype(np.float32)


def never_seen(names: Sequence[str], counts: PixelCounts) -> str | None:
    """A sentence that names the classes without a pixel, whose weight says nothing; None where there are none."""
    missing = [name for name, count in zip(names, counts.pixels, strict=True) if count == 0]
    if not missing:
        return None
    shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
    return f"No pixel of the training set is of the class{'es' if len(missing) > 1 else ''} {shown}: weight 1."


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise ConfigError(f"class weights: there is no method '{method}'; choose one of {', '.join(METHODS)}.")

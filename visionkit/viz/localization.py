"""A picture with its true and its found box, and how the IoUs of a whole split are spread."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from visionkit.viz.draw import draw_detections
from visionkit.viz.figure import curve_color, new_figure, save


def draw_pair(image: np.ndarray, truth: Any, found: Any, side: int = 280) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB brought to `side` pixels at its longer side, with two boxes (4,) in pixels of the
    original: the truth and what was found. The picture is resized first, so that lines and names stay sharp."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    boxes = np.stack([np.asarray(truth, float), np.asarray(found, float)])  # (2, 4)
    boxes *= np.array([size[0] / width, size[1] / height] * 2)
    return draw_detections(small, boxes, [2, 0], names=("found", "", "truth"))  # green and red in the palette


def plot_ious(ious: Sequence[float] | np.ndarray, path: str | Path, baseline: float | None = None) -> Path:
    """How many pictures have an IoU of 0 ... 1, in steps of 0.05. `baseline`: another mean to compare with."""
    figure, axes = new_figure((7, 4))
    values = np.asarray(ious, float)
    axes.hist(values, bins=np.linspace(0, 1, 21), color=curve_color(1))
    marks = [("mean", float(values.mean()) if len(values) else None, 0), ("mean box", baseline, 3)]
    for name, value, color in marks:
        if value is not None:
            axes.axvline(value, color=curve_color(color), label=f"{name} {value:.3f}")
    below = int((values < 0.5).sum())
    axes.set(xlabel="IoU", ylabel="pictures", xlim=(0, 1), title=f"{below} of {len(values)} boxes below IoU 0.5")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small", loc="upper left")
    return save(figure, path)

"""The proposals' road as a series of pictures, and objectness level by level."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from visionkit.viz.draw import draw_detections
from visionkit.viz.panels import SIDE, Panel, heat_panel, sized

DRAWN = 150  # boxes of a step, the best ones


def objectness_panels(image: np.ndarray, objectness: Mapping[str, np.ndarray], canvas: tuple[int, int]) -> list[Panel]:
    """One panel a level, all on the scale 0 ... 1.

    Args:
        image: (H, W, 3) uint8, without padding.
        objectness: by stage, (h, w) over the whole canvas.
        canvas: (height, width) of the padded picture.
    """
    height, width = image.shape[:2]
    panels = []
    for name, values in objectness.items():
        whole = cv2.resize(values.astype(np.float64), (canvas[1], canvas[0]), interpolation=cv2.INTER_NEAREST)
        title = f"{name}: {values.shape[0]} x {values.shape[1]} cells, best {values.max():.2f}"
        panels.append(heat_panel(image, whole[:height, :width], title, highest=1.0))
    return panels


def step_panel(image: np.ndarray, boxes: np.ndarray, title: str, scores: np.ndarray | None = None) -> Panel:
    """The best `DRAWN` of the boxes (n, 4), in colours from weak (violet, thin) to strong (yellow, drawn last)."""
    base = sized(image, 2 * SIDE)
    factor = base.shape[0] / image.shape[0]
    shown = boxes[:DRAWN] * factor
    levels = np.linspace(1, 0, max(len(shown), 1)) if scores is None else scores[:DRAWN]
    for (x1, y1, x2, y2), level in reversed(
        list(zip(shown.round().astype(int).tolist(), levels.tolist(), strict=False))
    ):
        cv2.rectangle(base, (x1, y1), (x2 - 1, y2 - 1), _color(level), 1)
    return Panel(cv2.resize(base, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), title)


def detections_panel(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, names: Sequence[str], title: str
) -> Panel:
    """The final boxes with class and score."""
    base = sized(image, 2 * SIDE)
    drawn = draw_detections(base, boxes * (base.shape[0] / image.shape[0]), labels, scores, names)
    return Panel(cv2.resize(drawn, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), title)


def _color(level: float) -> tuple[int, int, int]:
    weak, strong = np.array((120, 70, 190)), np.array((255, 225, 60))
    mixed = weak + (strong - weak) * min(max(level, 0.0), 1.0)
    return int(mixed[0]), int(mixed[1]), int(mixed[2])

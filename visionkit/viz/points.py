"""Counted objects as dots on a picture."""

import cv2
import numpy as np

from visionkit.viz.palette import class_color


def draw_points(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A copy of the picture (H, W, 3) uint8 with a dot at every point (P, 2) or more columns: x, y first."""
    canvas = np.ascontiguousarray(image).copy()
    radius = max(1, min(image.shape[:2]) // 150)
    for x, y in points[:, :2].tolist():
        cv2.circle(canvas, (int(x), int(y)), radius + 1, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(canvas, (int(x), int(y)), radius, class_color(0), -1, cv2.LINE_AA)
    return canvas

"""Boxes, class names, scores and masks on a picture."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from visionkit.viz.palette import Color, class_color, text_color
from visionkit.viz.text import fit, font, place

_MASK_STRENGTH = 0.45


def legible_scale(size: tuple[int, int], side: int = 480) -> int:
    """The whole factor that brings the longer side of a (height, width) picture to about `side` pixels; at least 1."""
    return max(1, side // max(*size, 1))


def draw_detections(
    image: np.ndarray,
    boxes: Any,
    labels: Any,
    scores: Any = None,
    names: Sequence[str] = (),
    masks: Any = None,
    crowd: Any = None,
    scale: int = 1,
) -> np.ndarray:
    """Draws detections or truth on a copy of the picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x1 y1 x2 y2 in pixels, array or tensor; those with a NaN or infinity are left out.
        labels: (N,) whole numbers; named by `names` where it reaches, else "class 7".
        scores: (N,) or None. The best are drawn last, on top.
        masks: (N, H, W) bool or None; drawn as a veil of the class's colour with a rim.
        crowd: (N,) bool or None; crowds have broken lines.
        scale: whole factor of enlargement, for small pictures; see `legible_scale`.

    Returns: (H * scale, W * scale, 3) uint8 RGB.
    """
    boxes, labels = _array(boxes).reshape(-1, 4).astype(float) * scale, _array(labels).reshape(-1)
    count = len(boxes)
    scores = None if scores is None else _array(scores).reshape(-1)
    crowd = np.zeros(count, dtype=bool) if crowd is None else _array(crowd).reshape(-1).astype(bool)
    if len(labels) != count or len(crowd) != count or (scores is not None and len(scores) != count):
        raise ValueError("draw_detections: boxes, labels, scores and crowd differ in length")
    masks = None if masks is None else _array(masks).astype(bool)
    if masks is not None and masks.shape != (count, *image.shape[:2]):
        raise ValueError(f"draw_detections: {count} masks of {image.shape[:2]} are wanted, not {masks.shape}")
    canvas = np.array(image, dtype=np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    canvas = np.ascontiguousarray(canvas)
    height, width = canvas.shape[:2]
    if min(height, width) == 0:
        return canvas

    worst_first = np.arange(count)[::-1] if scores is None else np.argsort(scores, kind="stable")
    order = [i for i in worst_first.tolist() if np.isfinite(boxes[i]).all()]
    boxes = np.stack([boxes[:, 0::2].clip(0, width), boxes[:, 1::2].clip(0, height)], axis=2).reshape(-1, 4)
    line = max(1, round((height + width) / 500))
    if masks is not None:
        for i in order:
            _mask(canvas, masks[i].repeat(scale, axis=0).repeat(scale, axis=1), class_color(int(labels[i])), line)
    for i in order:
        _rectangle(canvas, boxes[i], class_color(int(labels[i])), line, bool(crowd[i]))
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    size = min(max(10, round((height + width) / 90)), 40)
    taken: list[tuple[float, float, float, float]] = []
    spots = {}
    for i in reversed(order):  # the best choose their place first ...
        name = names[labels[i]] if 0 <= labels[i] < len(names) else f"class {labels[i]}"
        text = name + (" (crowd)" if crowd[i] else "") + ("" if scores is None else f" {scores[i]:.2f}")
        text = fit(text, size, width - 2 * line - 4)
        spot = place(tuple(boxes[i]), font(size).getlength(text) + 2 * line + 4, 1.25 * size, (width, height), taken)
        taken.append(spot)
        spots[i] = (spot, text)
    for i in order:  # ... and are written last
        (left, top, right, bottom), text = spots[i]
        color = class_color(int(labels[i]))
        pen.rectangle((left, top, right, bottom), fill=color)
        middle = (left + line + 2, (top + bottom) / 2)
        pen.text(middle, text, fill=text_color(color), font=font(size), anchor="lm")
    return np.array(picture)


def _mask(canvas: np.ndarray, mask: np.ndarray, color: Color, line: int) -> None:
    """A veil over the object's pixels, and a rim so that neighbours of one class stay apart."""
    blended = (1 - _MASK_STRENGTH) * canvas[mask] + _MASK_STRENGTH * np.array(color)
    canvas[mask] = blended.astype(np.uint8)  # (pixels, 3)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)  # holes too
    cv2.drawContours(canvas, contours, -1, color, line)


def _rectangle(canvas: np.ndarray, box: np.ndarray, color: Color, line: int, broken: bool) -> None:
    """The outline, `line` pixels thick and just inside the box, so that neighbouring boxes stay apart."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = (int(v) for v in np.round(box))
    x1, y1 = min(x1, width - 1), min(y1, height - 1)
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    if not broken:
        inside = min(line, x2 - x1, y2 - y1)
        for k in range(inside):
            cv2.rectangle(canvas, (x1 + k, y1 + k), (x2 - 1 - k, y2 - 1 - k), color, 1)
        return
    dash = 5 * line
    for start in range(0, max(x2 - x1, y2 - y1), 2 * dash):
        xs, ys = slice(x1 + start, min(x1 + start + dash, x2)), slice(y1 + start, min(y1 + start + dash, y2))
        canvas[y1 : y1 + line, xs] = canvas[max(y2 - line, 0) : y2, xs] = color
        canvas[ys, x1 : x1 + line] = canvas[ys, max(x2 - line, 0) : x2] = color


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)

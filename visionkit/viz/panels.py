"""Explanations beside each other: panels with a title and a colour bar, and sheets of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from visionkit.viz.density import heat as heat_colors
from visionkit.viz.palette import class_color
from visionkit.viz.semantic import legend
from visionkit.viz.text import fit, font

SIDE = 232  # of a panel's picture, pixels: the longer side
GAP = 8
LETTERS = 12  # height of text, pixels
LINE = 18  # pixels of a line of text
NAMED = 4  # classes in a legend
_PAPER, _INK, _DIM = (24, 24, 28), (245, 245, 245), (170, 170, 178)
_STRENGTH = 0.8  # of the veil where the heat is highest


@dataclass(frozen=True)
class Panel:
    """A picture (h, w, 3) uint8 RGB with a title. `bar` are the colours (n, 3) uint8 from `low` to `high`, None where
    the picture needs no scale."""

    picture: np.ndarray
    title: str
    bar: np.ndarray | None = None
    low: float = 0.0
    high: float = 1.0


def picture_panel(
    image: np.ndarray, title: str, box: Sequence[float] | None = None, point: tuple[int, int] | None = None
) -> Panel:
    """The picture itself, with a box or a point where one is explained."""
    return Panel(_marked(sized(image), image.shape, box, point), title)


def heat_panel(
    image: np.ndarray,
    heat: np.ndarray,
    title: str,
    box: Sequence[float] | None = None,
    point: tuple[int, int] | None = None,
    over_picture: bool = True,
    highest: float | None = None,
) -> Panel:
    """Heat as a veil over the picture: nothing where it is 0 or less, over red to yellow where it is highest.

    Args:
        image: (H, W, 3) uint8 RGB.
        heat: (H, W) or smaller, float; values that are not finite count as 0.
        over_picture: False shows the heat alone, on black.
        highest: what the strongest colour stands for; the largest value by default.
    """
    heat = np.nan_to_num(np.asarray(heat, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(heat.max()) if highest is None and heat.size else float(highest or 0.0)
    base = sized(image)
    shares = _resized(heat.clip(0, None) / top if top > 0 else np.zeros_like(heat), (base.shape[0], base.shape[1]))
    shares = shares.clip(0, 1)
    if over_picture:
        veil = (_STRENGTH * np.sqrt(shares))[:, :, None]
        gray = base.mean(axis=2, keepdims=True)
        shown = (1 - veil) * (0.55 * base + 0.45 * gray) + veil * heat_colors(shares)
    else:
        shown = heat_colors(shares) * np.sqrt(shares)[:, :, None]
    picture = _marked(shown.round().clip(0, 255).astype(np.uint8), image.shape, box, point)
    return Panel(picture, title, heat_colors(np.linspace(0, 1, 64)).astype(np.uint8), 0.0, top)


def map_panel(image: np.ndarray, values: np.ndarray, title: str) -> Panel:
    """Numbers of places as colours from the lowest to the highest, without the picture: fig. 7d of Zeiler and Fergus.

    `values` (rows, columns) float are drawn as large as the picture, each as a square.
    """
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    shares = (values - low) / (high - low) if high > low else np.zeros_like(values, dtype=np.float64)
    base = sized(image)
    colors = heat_colors(shares).astype(np.uint8)
    shown = cv2.resize(colors, (base.shape[1], base.shape[0]), interpolation=cv2.INTER_NEAREST)
    return Panel(shown, title, heat_colors(np.linspace(0, 1, 64)).astype(np.uint8), low, high)


def class_panel(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Panel:
    """Classes of places (rows, columns) int as coloured squares as large as the picture, with the commonest named."""
    shape = sized(image).shape
    found, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")  # the commonest first
    ranks = np.argsort(order)[places].reshape(labels.shape)
    colors = np.array([class_color(k) for k in range(len(order))], np.uint8).reshape(-1, 3)
    drawn = cv2.resize(colors[ranks], (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    key = legend([names[label] for label in found[order][:NAMED]], colors[:NAMED], shape[1])
    return Panel(np.concatenate([drawn, key]), f"most probable class: {len(order)}")


def color_panel(image: np.ndarray, values: np.ndarray, title: str, crowd: float = 99.8) -> Panel:
    """Signed values of the colour channels around gray, as gradients are shown in papers.

    Args:
        values: (C, H, W) float with C of 1 or 3, not cut: 0 is mid-gray.
        crowd: per cent of the absolute values that fit between black and white; the few above are cut.
    """
    values = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(np.percentile(np.abs(values), crowd)) if values.size else 0.0
    top = top or float(np.abs(values).max(initial=0.0))
    shares = 0.5 + values / (2 * top) if top > 0 else np.full_like(values, 0.5)
    shown = (255 * shares.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0)  # (H, W, C)
    picture = sized(np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3))))
    ramp = np.repeat(np.linspace(0, 255, 64).round().astype(np.uint8)[:, None], 3, axis=1)
    return Panel(picture, title, ramp, -top if top else 0.0, top)


def sheet(panels: Sequence[Panel], header: Sequence[str] = (), columns: int | None = None) -> np.ndarray:
    """Panels on a grid, row by row, under lines of text: (H, W, 3) uint8 RGB. Without panels the text alone."""
    columns = max(1, min(columns or _columns(len(panels)), max(1, len(panels))))
    cell = max([120, *(panel.picture.shape[1] for panel in panels)] if panels else [SIDE]) + GAP
    header = [part for line in header for part in _wrapped(line, columns * cell - GAP)]
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(panel.picture.shape[0] + (LINE if panel.bar is not None else 0) for panel in row) for row in rows]
    tops = [LINE * len(header) + GAP + sum(heights[:k]) + k * (LINE + GAP) for k in range(len(rows) + 1)]
    canvas = np.full((tops[-1], columns * cell + GAP, 3), _PAPER, np.uint8)
    places = [(tops[i // columns], GAP + i % columns * cell) for i in range(len(panels))]  # of the titles
    for panel, (top, x) in zip(panels, places, strict=True):
        y, (h, w) = top + LINE, panel.picture.shape[:2]
        canvas[y : y + h, x : x + w] = panel.picture
        if panel.bar is not None and w > 0:
            steps = np.linspace(0, len(panel.bar) - 1, w).round().astype(int)
            canvas[y + h + 2 : y + h + 6, x : x + w] = panel.bar[steps]
    drawn = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawn)
    for k, line in enumerate(header):
        size = LETTERS + 2 if k == 0 else LETTERS
        text = fit(line, size, canvas.shape[1] - 2 * GAP)
        pen.text((GAP, GAP // 2 + LINE * k + LINE // 2), text, fill=_INK, font=font(size), anchor="lm")
    for panel, (top, x) in zip(panels, places, strict=True):
        title = fit(panel.title, LETTERS, cell - GAP)
        pen.text((x, top + LINE // 2), title, fill=_INK, font=font(LETTERS), anchor="lm")
        if panel.bar is not None:
            below = top + LINE + panel.picture.shape[0] + 13
            ends = (f"{panel.low:.3g}", f"{panel.high:.3g}")
            pen.text((x, below), ends[0], fill=_DIM, font=font(9), anchor="lm")
            pen.text((x + panel.picture.shape[1], below), ends[1], fill=_DIM, font=font(9), anchor="rm")
    return np.array(drawn)


def _wrapped(line: str, width: float) -> list[str]:
    """A line of text as lines of at most `width` pixels, broken between words."""
    lines = [""]
    for word in line.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if not lines[-1] or font(LETTERS + 2).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _columns(count: int) -> int:
    """A row for up to five panels; else four to six in a row, as leaves the fewest places empty."""
    return count if count <= 5 else min((4, 5, 6), key=lambda columns: -count % columns)


def sized(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(H, W, 3) uint8 with its longer side at `side` pixels; small pictures are enlarged without smoothing."""
    height, width = image.shape[:2]
    factor = side / max(height, width, 1)
    shape = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, shape, interpolation=cv2.INTER_NEAREST if factor >= 2 else cv2.INTER_AREA)


def _resized(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if heat.size == 0:
        return np.zeros(shape)
    return cv2.resize(heat, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _marked(
    picture: np.ndarray, shape: Sequence[int], box: Sequence[float] | None, point: tuple[int, int] | None
) -> np.ndarray:
    """With a box or a cross, whose numbers are pixels of a picture of this shape; black in white, to be seen on all."""
    picture = np.ascontiguousarray(picture)
    fy, fx = picture.shape[0] / shape[0], picture.shape[1] / shape[1]
    if box is not None:
        x1, y1, x2, y2 = (round(v * f) for v, f in zip(box, (fx, fy, fx, fy), strict=True))
        for color, thick in (((255, 255, 255), 3), ((20, 20, 20), 1)):
            cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), color, thick)
    if point is not None:
        center = (round((point[0] + 0.5) * fx), round((point[1] + 0.5) * fy))
        for color, thick in (((255, 255, 255), 3), ((20, 20, 20), 1)):
            cv2.drawMarker(picture, center, color, cv2.MARKER_CROSS, 15, thick)
    return picture

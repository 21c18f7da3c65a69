"""Shapes that belong to no class: hard negatives that share parts with the classes but not their form.

Bars and ellipses are at least 2.5 times as long as wide, blobs have deep bays, strokes are open, letters are those
with no likeness to a cross, a ring or a crescent.
"""

from collections.abc import Callable

import cv2
import numpy as np

from visionkit.data.scene_shapes import Outline, arc, coverage, fit

_LETTERS = "BEFGHKMNPRSWZ2345"
_FONTS = (cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)


def bar(rng: np.random.Generator) -> Outline:
    lean = rng.uniform(-0.3, 0.3)
    return [np.array([[-1, -1], [1, -1], [1 + lean, 1], [-1 + lean, 1]]) * [1.0, rng.uniform(0.12, 0.35)]]


def ellipse(rng: np.random.Generator) -> Outline:
    return [arc(48) * [1.0, rng.uniform(0.2, 0.4)]]


def blob(rng: np.random.Generator) -> Outline:
    """A closed curve whose radius swings in two, three and four lobes of random phase."""
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    lobes = [rng.uniform(0.14, 0.26) * np.sin(k * angles + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4)]
    return [arc(72) * (1 + np.sum(lobes, axis=0))[:, None] * [1.0, rng.uniform(0.6, 0.9)]]


def stroke(rng: np.random.Generator) -> Outline:
    """A band of constant width along a zigzag or a wave: a brush stroke."""
    bends = int(rng.integers(2, 5))
    along = np.linspace(-1, 1, 40)
    wave = (
        2 * np.abs(((along + 1) * bends / 2 + rng.uniform()) % 1 - 0.5) if rng.random() < 0.5 else np.sin(along * bends)
    )
    middle = np.stack([along, rng.uniform(0.3, 0.6) * wave], axis=1)  # (40, 2)
    direction = np.gradient(middle, axis=0)
    normal = direction[:, ::-1] * [-1, 1] / np.linalg.norm(direction, axis=1, keepdims=True)
    half = rng.uniform(0.06, 0.14) * normal
    return [np.concatenate([middle + half, (middle - half)[::-1]])]


def corner(rng: np.random.Generator) -> Outline:
    """Two arms that meet at 60 to 120 degrees: part of an arrow, a cross or a triangle."""
    opening, thick = np.deg2rad(rng.uniform(60, 120)), rng.uniform(0.14, 0.24)
    tip = np.array([np.cos(opening), np.sin(opening)]) * rng.uniform(0.6, 1.0)
    inner = thick * np.array([1 / np.tan(opening / 2), 1.0])  # where the inner edges meet
    across = thick * np.array([np.sin(opening), -np.cos(opening)])
    return [np.array([[0, 0], [1, 0], [1, thick], inner, tip + across, tip])]


_OUTLINES: tuple[Callable[[np.random.Generator], Outline], ...] = (bar, ellipse, blob, stroke, corner)


def distractor(rng: np.random.Generator, side: float) -> np.ndarray:
    """Coverage, uint8 0 ... 255 (h, w), of a random shape of no class, its longer side about `side` px, any angle."""
    kind = int(rng.integers(len(_OUTLINES) + 1))
    degrees = float(rng.uniform(-180, 180))
    return _letter(rng, side, degrees) if kind == len(_OUTLINES) else coverage(fit(_OUTLINES[kind](rng), degrees, side))


def _letter(rng: np.random.Generator, side: float, degrees: float) -> np.ndarray:
    """One glyph of OpenCV's own fonts, drawn large, turned, cut to its box and made small."""
    glyph = np.zeros((128, 128), np.uint8)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    cv2.putText(glyph, str(rng.choice(list(_LETTERS))), (34, 96), font, 3.0, 255, thickness=int(rng.integers(6, 11)))
    turned = cv2.warpAffine(glyph, cv2.getRotationMatrix2D((64, 64), degrees, 1.0), (128, 128))
    left, top, width, height = cv2.boundingRect(turned)
    scale = side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(turned[top : top + height, left : left + width], size, interpolation=cv2.INTER_AREA)

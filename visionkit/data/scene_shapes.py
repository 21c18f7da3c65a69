"""Outlines of the eight classes, and how an outline becomes pixels.

An outline is a list of closed contours, each (P, 2) float64 in free units around the origin; where contours nest, the
inner one is a hole. Proportions vary within a class, so that no single template fits, and within limits that keep
the classes apart at 12 pixels and at every angle.
"""

from collections.abc import Callable

import cv2
import numpy as np

Outline = list[np.ndarray]
_FINE = 4  # sub-pixels per side: coverage in steps of 1/16


def arc(count: int, start: float = 0.0, stop: float = 2 * np.pi, closed: bool = True) -> np.ndarray:
    """Points on the unit circle from angle `start` to `stop`; the last one left out when the arc closes on itself."""
    angles = np.linspace(start, stop, count, endpoint=not closed)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (count, 2)


def circle(rng: np.random.Generator) -> Outline:
    return [arc(64)]


def square(rng: np.random.Generator) -> Outline:
    return [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [1.0, rng.uniform(0.88, 1.0)]]


def triangle(rng: np.random.Generator) -> Outline:
    return [arc(3) * [1.0, rng.uniform(0.85, 1.15)]]


def star(rng: np.random.Generator) -> Outline:
    """Five points; inner radius about that of a pentagram (0.38)."""
    radii = np.tile([1.0, rng.uniform(0.36, 0.46)], 5)
    return [arc(10) * radii[:, None]]


def cross(rng: np.random.Generator) -> Outline:
    arm = rng.uniform(0.24, 0.36)
    quarter = np.array([[1, -arm], [1, arm], [arm, arm]])
    turn = np.array([[0, 1], [-1, 0]])  # row vectors times this: a quarter turn
    return [np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])]


def ring(rng: np.random.Generator) -> Outline:
    return [arc(64), arc(48) * rng.uniform(0.5, 0.66)]


def crescent(rng: np.random.Generator) -> Outline:
    """A disc less a disc of the same radius set off to one side: two arcs between the points where the rims meet."""
    offset = rng.uniform(0.55, 0.75)
    half = np.arccos(offset / 2)  # angle, seen from the centre, at which the rims meet
    outer = arc(48, half, 2 * np.pi - half, closed=False)
    inner = arc(32, np.pi + half, np.pi - half, closed=False) + [offset, 0]
    return [np.concatenate([outer, inner])]


def arrow(rng: np.random.Generator) -> Outline:
    shaft, neck, head = rng.uniform(0.2, 0.28), rng.uniform(-0.05, 0.15), rng.uniform(0.68, 0.8)
    upper = np.array([[1, 0], [neck, head], [neck, shaft], [-1, shaft]])
    return [np.concatenate([upper, upper[:0:-1] * [1, -1]])]


SHAPES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "cross": cross,
    "ring": ring,
    "crescent": crescent,
    "arrow": arrow,
}


def fit(outline: Outline, degrees: float, side: float) -> Outline:
    """Rotates the outline, then scales and shifts it so that its box starts at 0 and its longer side is `side` px."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = [contour @ rotation for contour in outline]
    everything = np.concatenate(turned)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = side / (high - low).max()
    return [(contour - low) * scale for contour in turned]


def coverage(outline: Outline) -> np.ndarray:
    """Fraction of each pixel that the outline covers, uint8 0 ... 255, (h, w) just large enough.

    Filled at four times the resolution and averaged: OpenCV's own anti-aliasing widens a filled polygon by half a
    pixel, which at 12 pixels closes the hole of a ring.
    """
    extent = np.ceil(np.concatenate(outline).max(axis=0)).astype(int)
    width, height = int(extent[0]), int(extent[1])
    fine = np.zeros((height * _FINE, width * _FINE), np.uint8)
    # fillPoly's integer coordinates are pixel centres, and it paints the rim; 4 further bits keep the sub-pixel place.
    points = [np.rint((contour * _FINE - 0.5) * 16).astype(np.int32) for contour in outline]
    cv2.fillPoly(fine, points, 255, lineType=cv2.LINE_8, shift=4)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)  # (h, w)

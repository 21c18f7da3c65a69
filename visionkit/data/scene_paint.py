"""Colour: fills that stand out from what is behind them, and the cluttered background. No class is known here."""

import cv2
import numpy as np

from visionkit.data.scene_settings import SceneSettings
from visionkit.data.scene_textures import texture

_SAMPLES = 32  # pixels behind a shape that its colours are held against


class Painter:
    """Fills shapes on a float32 RGB canvas with two random colours mixed by a texture of the picture's own split.

    It never learns a shape's class, so colour and texture say nothing about it.
    """

    def __init__(self, rng: np.random.Generator, seed: int, numbers: range, settings: SceneSettings) -> None:
        self.rng, self.seed, self.numbers, self.settings = rng, seed, numbers, settings
        self.used: list[int] = []  # texture numbers in the order of use

    def texture(self, height: int, width: int) -> np.ndarray:
        """A texture of the split, (height, width) float32 in 0 ... 1."""
        number = self.numbers[int(self.rng.integers(len(self.numbers)))]
        self.used.append(number)
        return texture(self.seed, number, height, width)

    def fill(self, canvas: np.ndarray, shape: np.ndarray, top: int, left: int) -> None:
        """Paints `shape`, coverage uint8 (h, w), onto canvas (H, W, 3) in place, its corner at (top, left)."""
        height, width = shape.shape
        window = canvas[top : top + height, left : left + width]
        rows, columns = np.nonzero(shape)
        step = -(-len(rows) // _SAMPLES)
        behind = window[rows[::step], columns[::step]]  # (at most _SAMPLES, 3), spread over the shape
        first = self._colour(behind)
        way = self.rng.uniform(0, self.settings.fill_texture) * (self._colour(behind) - first)
        colour = _blend([self.texture(height, width)], first, [way])  # (h, w, 3)
        if min(height, width) >= 20 and self.rng.random() < 0.25:
            inner = cv2.erode(shape, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
            colour *= _three_channels(inner) * 0.6 + 0.4  # a dark rim
        window += _three_channels(shape) * (colour - window)

    def _colour(self, behind: np.ndarray) -> np.ndarray:
        """A colour (3,) float32 that stands out from what is behind, (S, 3), or the one of 20 that does so best.

        The distance that counts is the one that four fifths of the samples exceed: their mean would not do, since a
        shape half on yellow and half on blue has grey behind it, and a yellow one would lose half its outline.
        """
        drawn = self.rng.uniform(0, 255, (20, 3)).astype(np.float32)
        distances = np.sqrt(((drawn[:, None] - behind[None]) ** 2).sum(axis=2))  # (20, S)
        distance = np.sort(distances, axis=1)[:, len(behind) // 5]  # (20,)
        enough = np.flatnonzero(distance >= self.settings.contrast)
        chosen: np.ndarray = drawn[enough[0] if len(enough) else int(distance.argmax())]
        return chosen


def _blend(maps: list[np.ndarray], base: np.ndarray, colours: list[np.ndarray]) -> np.ndarray:
    """base + the sum of map times colour: maps (h, w), colours and base (3,), result (h, w, 3), all float32.

    One pass in OpenCV; numpy is several times slower when the last axis has only three elements.
    """
    matrix = np.stack([*colours, base], axis=1).astype(np.float32)  # (3, maps + 1)
    return cv2.transform(cv2.merge(maps), matrix)


def _three_channels(coverage: np.ndarray) -> np.ndarray:
    """Coverage uint8 (h, w) as float32 (h, w, 3) in 0 ... 1."""
    return cv2.cvtColor(coverage.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_GRAY2RGB)


def background(rng: np.random.Generator, painter: Painter, height: int, width: int, scraps: int) -> np.ndarray:
    """A canvas (height, width, 3) float32: two textures in related colours, a fall of light, faint scraps and lines."""
    strength = painter.settings.background_texture
    base = rng.uniform(30, 225, 3).astype(np.float32)
    shifts = [rng.normal(0, strength, 3) for strength in (strength, strength / 2)]
    rows, columns = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    slope = rng.uniform(-25, 25, 2).astype(np.float32)
    light = slope[0] * rows[:, None] + slope[1] * columns[None]  # (height, width)
    textures = [painter.texture(height, width) for _ in shifts]
    canvas = _blend([*textures, light], base, [*shifts, np.ones(3)])
    for _ in range(scraps):
        centre = rng.uniform([0, 0], [width, height])
        # At least five corners in random order: three or four would make faint triangles and squares of no label.
        points = centre + rng.normal(0, rng.uniform(4, 22), (int(rng.integers(5, 8)), 2))
        tone = canvas[int(centre[1]), int(centre[0])] + rng.normal(0, strength / 2, 3)
        corners = np.rint(points).astype(np.int32)[:, None]
        if rng.random() < 0.4:
            corners = corners[: int(rng.integers(2, 5))]
            cv2.polylines(canvas, [corners], False, tone.tolist(), thickness=int(rng.integers(1, 3)))
        else:
            cv2.fillPoly(canvas, [corners], tone.tolist())
    return np.asarray(np.clip(canvas, 0, 255))

"""One generated picture with its truth, from (seed, split, number) alone."""

from dataclasses import dataclass

import cv2
import numpy as np

from visionkit.data.scene_distractors import distractor
from visionkit.data.scene_layout import Layout, random_corner
from visionkit.data.scene_paint import Painter, background
from visionkit.data.scene_settings import SPLITS, SceneSettings
from visionkit.data.scene_shapes import SHAPES, coverage, fit
from visionkit.data.scene_textures import texture_seeds
from visionkit.errors import ConfigError

_ROOM = 0.75  # an object's longer side is at most this part of the picture's shorter side, so that others fit
_SHRINK = 0.7  # an object that found no place is tried again at this part of its side
_SPARE = 20  # further objects tried when the least number is not reached


@dataclass(frozen=True)
class Picture:
    """A picture and what is seen in it. Objects are in drawing order: a later one may hide part of an earlier one."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    labels: np.ndarray  # (G,) int64, positions in SceneSettings.classes
    masks: np.ndarray  # (G, H, W) bool, visible pixels; no pixel belongs to two objects
    boxes: np.ndarray  # (G, 4) float32, tight around the visible pixels
    full_areas: np.ndarray  # (G,) int64, pixels before anything was hidden
    textures: tuple[int, ...]  # texture numbers used, all of the picture's own split


def draw(settings: SceneSettings, split: str, number: int) -> Picture:
    """Draws picture `number` of a split; the same bits in any order and any process (for one OpenCV version).

    Raises ConfigError when the picture has no room for the least number of objects.
    """
    stream = np.random.SeedSequence([settings.seed, SPLITS.index(split), number])
    rng = np.random.Generator(np.random.PCG64(stream))
    height, width = (int(side) for side in rng.integers(settings.image_size[0], settings.image_size[1] + 1, size=2))
    painter = Painter(rng, settings.seed, texture_seeds(split, settings.textures), settings)
    canvas = background(rng, painter, height, width, _between(rng, settings.clutter))

    for _ in range(_between(rng, settings.distractors)):
        shape = distractor(rng, _side(rng, settings, min(height, width)))
        painter.fill(canvas, shape, *random_corner(rng, shape, height, width))

    layout, labels = _add_objects(rng, painter, canvas, settings)
    return Picture(
        image=_camera(rng, canvas, settings.noise),
        labels=np.array(labels, np.int64),
        masks=np.stack(layout.masks),
        boxes=np.stack(layout.boxes).astype(np.float32),
        full_areas=np.array(layout.full_areas, np.int64),
        textures=tuple(painter.used),
    )


def _add_objects(
    rng: np.random.Generator, painter: Painter, canvas: np.ndarray, settings: SceneSettings
) -> tuple[Layout, list[int]]:
    """Paints the objects one over another; an object without a place is left out while the least number is met."""
    height, width = canvas.shape[:2]
    layout = Layout(settings, height, width)
    labels: list[int] = []
    wanted = _between(rng, settings.objects)
    for attempt in range(wanted + _SPARE):
        if len(labels) == wanted or (attempt >= wanted and len(labels) >= settings.objects[0]):
            return layout, labels
        label = int(rng.integers(len(settings.classes)))
        outline = SHAPES[settings.classes[label]](rng)
        apart = bool(rng.random() >= settings.overlap)
        degrees = float(rng.uniform(-settings.rotation, settings.rotation))
        for side in _shrinking(_side(rng, settings, min(height, width)), settings.object_size[0]):
            shape = coverage(fit(outline, degrees, side))
            solid = shape >= 128  # (h, w): a pixel belongs to the shape that covers half of it
            place = layout.find_place(rng, solid, apart)
            if place is not None:
                painter.fill(canvas, shape, *place)
                layout.add(solid, *place)
                labels.append(label)
                break
    if len(labels) >= settings.objects[0]:
        return layout, labels
    raise ConfigError(
        f"scenes: {settings.objects[0]} objects of {settings.object_size[0]} px and more found no room "
        f"in a picture of {width} x {height} px; ask for fewer objects or larger pictures."
    )


def _side(rng: np.random.Generator, settings: SceneSettings, shorter: int) -> float:
    """A side in pixels, uniform: small objects are there, but not in the majority."""
    low, high = settings.object_size
    return float(rng.uniform(low, max(low, min(high, _ROOM * shorter))))


def _shrinking(side: float, least: int) -> list[float]:
    """The sides to try, from `side` down; the last a little above `least`, to survive rounding to whole pixels."""
    steps = []
    while side > least + 1:
        steps.append(side)
        side *= _SHRINK
    return [*steps, least + 1.0]


def _between(rng: np.random.Generator, pair: tuple[int, int]) -> int:
    return int(rng.integers(pair[0], pair[1] + 1))


def _camera(rng: np.random.Generator, canvas: np.ndarray, strongest: float) -> np.ndarray:
    """What a cheap camera adds: a little blur, then noise. (H, W, 3) float32 to uint8."""
    sigma = float(rng.uniform(0.0, 0.7))
    if sigma > 0.3:  # narrower blurs change nothing
        canvas = cv2.GaussianBlur(canvas, (0, 0), sigma)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0, strongest))
    return np.asarray(np.clip(np.rint(canvas + noise), 0, 255), np.uint8)

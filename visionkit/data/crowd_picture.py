"""One generated picture of a crowd with its points, from (seed, split, number) alone."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from visionkit.data.crowd_settings import SPLITS, CrowdSettings

_SHIFT = 4  # OpenCV's drawing takes whole numbers, here of a sixteenth of a pixel
_SKIN = np.array([[232, 196, 168], [205, 160, 128], [160, 112, 82], [110, 74, 54], [70, 46, 34]], np.float64)
_HAIR = np.array([[30, 24, 22], [62, 42, 28], [120, 84, 48], [170, 164, 158], [190, 150, 84]], np.float64)


@dataclass(frozen=True)
class CrowdPicture:
    image: np.ndarray  # (H, W, 3) uint8 RGB
    points: np.ndarray  # (P, 2) float64: the middle of each head, x and y from the picture's corner, inside of it


def draw_crowd(settings: CrowdSettings, split: str, number: int) -> CrowdPicture:
    """Picture `number` of a split; the same bits in any order and any process (for one OpenCV version)."""
    stream = np.random.SeedSequence([settings.seed, SPLITS.index(split), number])
    rng = np.random.Generator(np.random.PCG64(stream))
    height, width = settings.image_size
    canvas = _ground(rng, height, width)
    wanted = int(rng.integers(settings.people[0], settings.people[1] + 1))
    heads = _places(rng, settings, wanted)  # (P, 3)
    things = int(rng.integers(settings.clutter[0], settings.clutter[1] + 1))
    spots = rng.uniform([0, 0], [width, height], (things, 2))
    for x, y in sorted(spots.tolist(), key=lambda spot: spot[1]):
        _thing(rng, canvas, x, y, _radius(settings, y))
    # The near hide parts of those behind them. Things hide nobody: a point on a head that is not seen teaches noise.
    for x, y, radius in sorted(heads.tolist(), key=lambda head: head[1]):
        _person(rng, canvas, x, y, radius)
    return CrowdPicture(_camera(rng, canvas, settings.noise), heads[:, :2])


def _radius(settings: CrowdSettings, y: float) -> float:
    """Of a head at this height of the picture: who stands lower is nearer."""
    share = y / settings.image_size[0]
    return settings.head[0] + share * (settings.head[1] - settings.head[0])


def _places(rng: np.random.Generator, settings: CrowdSettings, wanted: int) -> np.ndarray:
    """x, y and radius of the heads, (P, 3): some in groups, the others anywhere, none on another's face."""
    height, width = settings.image_size
    middles = rng.uniform([0, 0], [width, height], (max(1, wanted // 12), 2))
    grouped, tries = rng.uniform(0.2, 0.8), 4 * wanted
    spread = rng.uniform(0.05, 0.2) * width
    near = middles[rng.integers(len(middles), size=tries)] + rng.standard_normal((tries, 2)) * [spread, 0.6 * spread]
    anywhere = rng.uniform([0, 0], [width, height], (tries, 2))
    spots = np.where(rng.random((tries, 1)) < grouped, near, anywhere)  # (T, 2)
    spots = spots[(spots > 0.5).all(axis=1) & (spots < [width - 0.5, height - 0.5]).all(axis=1)]
    sizes = np.array([_radius(settings, y) for y in spots[:, 1]]) * rng.uniform(0.85, 1.15, len(spots))
    kept = np.zeros((wanted, 3))
    count = 0
    for (x, y), radius in zip(spots.tolist(), sizes.tolist(), strict=True):
        if count == wanted:
            break
        others = kept[:count]
        least = settings.apart * np.maximum(others[:, 2], radius)
        if ((others[:, 0] - x) ** 2 + (others[:, 1] - y) ** 2 >= least**2).all():
            kept[count] = x, y, radius
            count += 1
    return kept[:count]


def _ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pavement or grass: a gradient, blotches of several sizes, perhaps the lines of slabs; (H, W, 3) uint8."""
    color = rng.uniform(70, 190) + rng.uniform(-25, 25, 3)
    canvas, (far, near) = np.full((height, width, 3), color, np.float32), rng.uniform(-30, 30, 2)
    canvas += np.linspace(float(far), float(near), height, dtype=np.float32)[:, None, None]
    for cells, strength in ((6, 18), (24, 10), (80, 8)):
        blotches = rng.standard_normal((max(2, cells * height // width), cells, 1)).astype(np.float32)
        canvas += (
            strength * rng.random() * cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
        )
    canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 9))):  # slabs, kerbs, shadows of poles
        ends = rng.uniform([-20, -20], [width + 20, height + 20], (2, 2))
        shade = np.clip(color + rng.uniform(-45, 45), 0, 255)
        _line(canvas, ends[0], ends[1], shade, int(rng.integers(1, 4)))
    return canvas


def _person(rng: np.random.Generator, canvas: np.ndarray, x: float, y: float, radius: float) -> None:
    """Shoulders and clothes under a head with hair; seen from above in front."""
    clothes = rng.uniform(15, 240, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(15, 220))
    shade = rng.uniform(0.55, 0.85)
    turn, lean = rng.uniform(-25, 25), rng.uniform(-0.3, 0.3) * radius
    _ellipse(canvas, (x + lean, y + 2.4 * radius), (1.25 * radius, 2.2 * radius), turn / 3, clothes * shade)
    _ellipse(canvas, (x + lean / 2, y + 1.45 * radius), (1.7 * radius, 0.85 * radius), turn, clothes)
    skin = _SKIN[rng.integers(len(_SKIN))] + rng.uniform(-12, 12)
    hair = _HAIR[rng.integers(len(_HAIR))] + rng.uniform(-12, 12)
    if rng.random() < 0.15:  # a hat
        hair = rng.uniform(20, 240, 3)
    _ellipse(canvas, (x, y), (0.85 * radius, radius), 0, skin)
    _ellipse(canvas, (x, y - 0.3 * radius), (0.85 * radius, 0.72 * radius), 0, hair)


def _thing(rng: np.random.Generator, canvas: np.ndarray, x: float, y: float, radius: float) -> None:
    """A bush, a bin, a pole, a bag or a car's roof: some are as round as heads, or as large as people."""
    color, kind = rng.uniform(20, 230, 3), int(rng.integers(5))
    if kind == 0:  # leaves
        green = np.array([rng.uniform(20, 90), rng.uniform(70, 150), rng.uniform(20, 70)])
        for dx, dy, size in rng.uniform([-3, -3, 0.7], [3, 3, 2.2], (int(rng.integers(5, 12)), 3)).tolist():
            spot = (x + dx * radius, y + dy * radius)
            _ellipse(canvas, spot, (size * radius, size * radius), 0, green * rng.uniform(0.7, 1.3))
    elif kind == 1:
        _box(canvas, x, y, 1.8 * radius, 3.2 * radius, color)
        _ellipse(canvas, (x, y - 3.2 * radius), (1.8 * radius, 0.7 * radius), 0, color * 0.6)
    elif kind == 2:
        _line(canvas, (x, y), (x, y - rng.uniform(8, 20) * radius), color * 0.5, max(1, int(0.7 * radius)))
    elif kind == 3:
        _ellipse(canvas, (x, y), (rng.uniform(0.8, 1.6) * radius, rng.uniform(0.6, 1.0) * radius), 0, color)
    else:
        _box(canvas, x, y, rng.uniform(5, 9) * radius, rng.uniform(3, 5) * radius, color)
        _box(canvas, x, y - radius, 3.5 * radius, 1.8 * radius, color * 0.45)


def _ellipse(canvas: np.ndarray, center: Any, axes: Any, degrees: float, color: np.ndarray) -> None:
    one = 1 << _SHIFT
    spot = tuple(round((side - 0.5) * one) for side in center)  # OpenCV's 0, 0 is the middle of the first pixel
    size = tuple(max(1, round(side * one)) for side in axes)
    cv2.ellipse(canvas, spot, size, degrees, 0, 360, _ink(color), -1, cv2.LINE_AA, _SHIFT)


def _box(canvas: np.ndarray, x: float, y: float, across: float, down: float, color: np.ndarray) -> None:
    corners = (round(x - across), round(y - down)), (round(x + across), round(y + down))
    cv2.rectangle(canvas, *corners, _ink(color), -1)


def _line(canvas: np.ndarray, start: Any, end: Any, color: np.ndarray, thickness: int) -> None:
    first, last = ([round(float(side)) for side in place] for place in (start, end))
    cv2.line(canvas, first, last, _ink(color), thickness, cv2.LINE_AA)


def _ink(color: np.ndarray) -> list[float]:
    return np.clip(color, 0, 255).tolist()  # type: ignore[no-any-return]


def _camera(rng: np.random.Generator, canvas: np.ndarray, strongest: float) -> np.ndarray:
    """Light, a little blur, noise: (H, W, 3) uint8."""
    gain, sigma = rng.uniform(0.75, 1.15), float(rng.uniform(0.0, 0.8))
    if sigma > 0.3:  # narrower blurs change nothing
        canvas = cv2.GaussianBlur(canvas, (0, 0), sigma)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0, strongest))
    return np.asarray(np.clip(np.rint(canvas * np.float32(gain) + noise), 0, 255), np.uint8)

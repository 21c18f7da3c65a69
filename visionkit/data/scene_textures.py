"""Textures: scalar maps from a texture seed, and the seeds that belong to each split.

A texture is a function of its seed alone. Train and val draw from ranges of seeds that do not meet, so no texture
of a val picture was ever seen in training.
"""

import cv2
import numpy as np

_STREAM = 0x7E87  # keeps the textures' random streams apart from the pictures' streams of the same run seed


def texture_seeds(split: str, count: int) -> range:
    """Texture numbers of a split: `count` of them, even for train, odd for val, so disjoint for any two counts."""
    return range(0, 2 * count, 2) if split == "train" else range(1, 2 * count + 1, 2)


def texture(seed: int, number: int, height: int, width: int) -> np.ndarray:
    """Scalar map (height, width) float32 in 0 ... 1 of texture `number` in the run of `seed`; scale in pixels."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _STREAM, number])))
    kind = int(rng.integers(5))
    if kind == 0:
        return _clouds(rng, height, width)
    if kind == 1:
        return np.full((height, width), rng.uniform(0, 0.3), np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 24)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    along = (np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows) / np.float32(period)
    across = (np.float32(np.cos(angle)) * rows - np.float32(np.sin(angle)) * columns) / np.float32(period)
    if kind == 2:
        return _soft(_wave(along) + np.float32(rng.uniform(-0.4, 0.4)))  # stripes
    if kind == 3:
        return _soft(_wave(along) * _wave(across))  # checks
    return _soft(_wave(along) + _wave(across) - np.float32(rng.uniform(0.3, 1.2)))  # dots


def _wave(phase: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1 in -1 ... 1; cheaper than a sine and as good here."""
    wave: np.ndarray = 4 * np.abs(phase - np.floor(phase) - 0.5) - 1
    return wave


def _soft(height: np.ndarray) -> np.ndarray:
    """A steep ramp in place of a step, so that edges are about a pixel wide at the usual periods."""
    return np.clip(3 * height + 0.5, 0, 1).astype(np.float32)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Random grids of 3, 6, 12 and 24 cells to 128 px, smoothly enlarged and summed with falling weight."""
    total = np.zeros((height, width), np.float32)
    roughness = rng.uniform(0.4, 0.75)
    for octave in range(4):
        grid = rng.random((3 * 2**octave + 1, 3 * 2**octave + 1), dtype=np.float32)
        field = cv2.resize(grid, (max(width, 128), max(height, 128)), interpolation=cv2.INTER_LINEAR)
        total += np.float32(roughness**octave) * field[:height, :width]
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)

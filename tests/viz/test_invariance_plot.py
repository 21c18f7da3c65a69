"""Moved pictures: curves, bars, and kinds and layers that are missing."""

import numpy as np
from PIL import Image

from visionkit.viz.invariance_plot import plot_invariance


def read(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def colored(path):
    """How many pixels are neither gray nor nearly so."""
    picture = read(path)
    return int((picture.max(axis=2) - picture.min(axis=2) > 60).sum())


def test_invariance(tmp_path):
    curves = {"c1": [(0, 0.0), (4, 0.5), (8, None)], "vector": [(0, 0.0), (4, 0.2), (8, 0.3)]}
    bars = {"c1": [(1, 0.7)], "vector": [(1, 0.1)]}
    both = plot_invariance({"shift": {"c1": curves["c1"]}}, {"shift": curves, "mirror": bars}, tmp_path / "both.png")
    less = plot_invariance({}, {"mirror": bars}, tmp_path / "less.png")
    none = plot_invariance({}, {}, tmp_path / "none.png")
    assert read(both).shape[1] > read(less).shape[1] and colored(both) > colored(less) > colored(none)

"""Turned pictures: a curve and a band for each network."""

import numpy as np
import pytest
from PIL import Image

from visionkit.viz.angle_plot import plot_angles


def read(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def colored(path):
    """How many pixels are neither gray nor nearly so."""
    picture = read(path)
    return int((picture.max(axis=2) - picture.min(axis=2) > 60).sum())


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_angles(tmp_path, spread):
    angles = list(range(0, 361, 15))
    curves = {name: [(0.5 + 0.2 * k, spread)] * len(angles) for k, name in enumerate(("p4", "plain"))}
    path = plot_angles(angles, curves, tmp_path / "angles.png", 0.1)
    narrow = plot_angles(
        angles, {name: [(m, 0.0) for m, _ in c] for name, c in curves.items()}, tmp_path / "n.png", 0.1
    )
    assert colored(path) > 500
    assert (read(path) != read(narrow)).any() == (spread > 0), "the band is drawn"

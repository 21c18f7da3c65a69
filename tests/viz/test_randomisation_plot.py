"""The curves of the randomisation check: a gap where nothing is known."""

import math

import numpy as np
from PIL import Image

from visionkit.viz import randomisation_plot
from visionkit.viz.randomisation_plot import plot_randomisation

POINTS = [
    ("a", "head.linear", 0.5),
    ("b", "head.linear", 1.0),
    ("a", "backbone.conv1", None),
    ("b", "backbone.conv1", 1.0),
]


def test_every_method_has_a_curve_that_begins_alike(monkeypatch, tmp_path):
    monkeypatch.setattr(randomisation_plot, "save", lambda figure, path: figure)
    (axes,) = plot_randomisation(POINTS, tmp_path / "no.png").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["trained", "head.linear", "conv1"]
    found = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert found["b"] == [1.0, 1.0, 1.0] and found["a"][:2] == [1.0, 0.5] and math.isnan(found["a"][2])


def test_the_file(tmp_path):
    for points in ([], POINTS):
        path = plot_randomisation(points, tmp_path / "plots" / "randomisation.png")
        assert np.asarray(Image.open(path)).std() > 0

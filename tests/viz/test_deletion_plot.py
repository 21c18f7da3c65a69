"""Curves of deletion and insertion: which legend, in which order."""

import numpy as np
import pytest
from PIL import Image

from visionkit.viz import deletion_plot
from visionkit.viz.deletion_plot import plot_deletion

CURVES = {"slow": ((1.0, 0.8, 0.0), (0.0, 0.2, 1.0)), "fast": ((1.0, 0.2, 0.0), (0.0, 0.8, 1.0))}


def test_the_best_method_stands_first_with_its_area(monkeypatch, tmp_path):
    monkeypatch.setattr(deletion_plot, "save", lambda figure, path: figure)
    deletion, insertion = plot_deletion(CURVES, tmp_path / "no.png").axes
    for axes in (deletion, insertion):
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        best = 0.35 if axes is deletion else 0.65
        assert texts == [f"fast {best:.3f}", f"slow {1 - best:.3f}"]
        colors = {line.get_label().split()[0]: line.get_color() for line in axes.get_lines()}
        assert colors["fast"] != colors["slow"]
    (fast, _) = deletion.get_lines()
    assert fast.get_xdata().tolist() == pytest.approx([0, 0.5, 1]) and fast.get_ydata().tolist() == [1.0, 0.2, 0.0]


def test_the_file(tmp_path):
    for curves in ({}, CURVES):
        path = plot_deletion(curves, tmp_path / "plots" / "deletion.png")
        assert np.asarray(Image.open(path)).std() > 0

"""The sweep's curve, with and without a suggestion, and with losses that are off the scale."""

import numpy as np
from PIL import Image

from visionkit.viz.lr_plot import plot_lr


def test_drawn_with_its_marks(tmp_path):
    rates = np.geomspace(1e-6, 1, 50).tolist()
    smoothed = np.linspace(2, 1, 50).tolist()
    losses = [*smoothed[:-1], 1e9]
    plain = plot_lr(rates, losses, smoothed, tmp_path / "plain.png")
    marked = plot_lr(rates, losses, smoothed, tmp_path / "marked.png", [("suggestion", 1e-3), ("least / 10", 1e-2)])
    pictures = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (plain, marked)]
    assert pictures[0].shape == pictures[1].shape and (pictures[0] != pictures[1]).any()
    curve = (abs(pictures[0] - pictures[0][0, 0]).sum(axis=2) > 200).any(axis=0)  # columns with something dark
    assert curve[100:-40].mean() > 0.9, "the curve is drawn over the whole width, whatever the last loss is"


def test_a_single_step(tmp_path):
    assert plot_lr([1e-3], [2.0], [2.0], tmp_path / "one.png").exists()

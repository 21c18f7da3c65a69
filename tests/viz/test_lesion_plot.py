"""Deleted layers: every network, part and draw shows, and nothing is needed."""

import numpy as np
from PIL import Image

from visionkit.viz.lesion_plot import plot_lesions


def read(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def colored(path):
    """How many pixels are neither gray nor nearly so."""
    picture = read(path)
    return int((picture.max(axis=2) - picture.min(axis=2) > 60).sum())


def test_lesions(tmp_path):
    singles = [("layer1.0", 0.8, True), ("layer2.0", 0.3, False), ("layer2.1", 0.7, True)]
    groups = [(2, 0.5), (2, 0.3), (3, 0.1)]
    one = plot_lesions({"a": 0.9}, {"a": singles}, {"a": groups}, tmp_path / "one.png", chance=0.1)
    two = plot_lesions(
        {"a": 0.9, "b": 0.8}, {"a": singles, "b": singles[:2]}, {"a": groups, "b": groups[:1]}, tmp_path / "two.png"
    )
    bare = plot_lesions({"a": 0.9}, {"a": []}, {"a": []}, tmp_path / "bare.png")
    assert colored(two) > colored(one) > colored(bare) > 0
    hollow = [(name, accuracy, False) for name, accuracy, _ in singles]
    filled = [(name, accuracy, True) for name, accuracy, _ in singles]
    counts = [
        colored(plot_lesions({"a": 0.9}, {"a": parts}, {}, tmp_path / f"{k}.png"))
        for k, parts in enumerate((hollow, filled))
    ]
    assert counts[0] < counts[1], "what changes the shape is hollow"
    assert plot_lesions({}, {}, {}, tmp_path / "none.png").exists()

"""Plots are written for what there is, and only for that."""

import json

import numpy as np
import pytest
from PIL import Image

from visionkit.viz import plots


def write(path, lines) -> None:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def looks_drawn(path) -> bool:
    picture = np.array(Image.open(path).convert("RGB"))
    return picture.shape[0] > 200 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_a_whole_run(tmp_path):
    record = [
        {
            "step": s,
            "split": "train",
            "phase": 0,
            "loss": 2 / (s + 1),
            "loss_box": 1 / (s + 1),
            "loss_rpn": 0.1,
            "lr": 0.01,
        }
        for s in range(120)
    ] + [
        {"split": "val", "step": s, "AP": s / 200, "AP50": s / 150, "AP_large": None, "val_loss": 1.0} for s in (40, 80)
    ]
    write(tmp_path / "metrics.jsonl", [*record, '{"step": 121, "split": "tr'])
    files = plots.plot_training(tmp_path / "metrics.jsonl", tmp_path / "plots")
    assert [f.name for f in files] == ["losses.png", "learning_rate.png", "validation.png"]
    assert all(looks_drawn(f) for f in files)


def test_odd_records(tmp_path):
    """Nothing at all, no validation yet, NaN losses, learning rates per group."""
    path = tmp_path / "metrics.jsonl"
    write(path, [])
    assert plots.plot_training(path, tmp_path) == []
    write(path, ["[1]", "3", {"split": "train"}, {"step": 1, "split": "val", "AP": None}])
    assert plots.plot_training(path, tmp_path) == []
    write(
        path,
        [
            '{"step": 1, "split": "train", "loss": NaN, "lr": 0.1, "lr_backbone": 0.2}',
            {"step": 2, "split": "train", "loss": 1.0},
        ],
    )
    assert [f.name for f in plots.plot_training(path, tmp_path)] == ["losses.png", "learning_rate.png"]


def test_curves_take_any_finite_number():
    curves = plots._curves(
        [{"step": 1, "AP": 0.1, "note": "x", "ok": True}, {"step": 2, "AP": None}, {"step": 3, "AP": 0.3, "mIoU": 1}]
    )
    assert curves == {"AP": ([1.0, 3.0], [0.1, 0.3]), "mIoU": ([3.0], [1.0])}


def test_precision_recall_and_bars(tmp_path):
    curves = {"cat": np.linspace(1, 0, 101), "no objects": np.full(101, np.nan)}
    assert looks_drawn(plots.plot_precision_recall(curves, tmp_path / "a" / "pr.png"))
    assert looks_drawn(plots.plot_precision_recall({}, tmp_path / "empty.png"))
    assert looks_drawn(plots.plot_class_ap(["cat", "dog"], [0.5, None], tmp_path / "ap.png"))
    assert plots.plot_class_ap([], [], tmp_path / "none.png").exists()
    with pytest.raises(ValueError):
        plots.plot_class_ap(["cat"], [], tmp_path / "bad.png")


def test_study(tmp_path):
    path = plots.plot_study(["a", "b", "c"], [(0.5, 0.02), (0.4, None), (None, None)], tmp_path / "s.png", "AP")
    assert looks_drawn(path)
    other = plots.plot_study(["a", "b", "c"], [(0.5, 0.2), (0.4, None), (None, None)], tmp_path / "t.png", "AP")
    assert path.read_bytes() != other.read_bytes()  # the spread is drawn
    assert plots.plot_study(["lost"], [(None, None)], tmp_path / "n.png", "AP").exists()
    with pytest.raises(ValueError):
        plots.plot_study(["a"], [], tmp_path / "bad.png", "AP")

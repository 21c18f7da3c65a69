"""Curves of a run and of an evaluation, drawn without a screen and without pyplot's global state."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.ops.direction import lower_is_better
from visionkit.viz.figure import curve_color, new_figure, save

_NOT_METRICS = {"step", "epoch", "phase", "time", "seconds"}


def plot_training(metrics_jsonl: str | Path, folder: str | Path) -> list[Path]:
    """Draws what a run recorded: losses.png, learning_rate.png and validation.png, those for which there is data.

    Lines are JSON objects with "step" and "split": "train" ("loss...", "lr...") or "val" (any numeric keys). Lines that
    are not (the last one of a killed run) are skipped. Returns the files written.
    """
    records = _read(Path(metrics_jsonl))
    train = _curves([r for r in records if r.get("split") == "train"])
    losses = {k: v for k, v in train.items() if k.startswith("loss")}
    rates = {k: v for k, v in train.items() if k.startswith("lr")}
    results = _curves([r for r in records if r.get("split") == "val"])
    scores = {k: v for k, v in results.items() if not lower_is_better(k)}
    errors = {k: v for k, v in results.items() if k not in scores}
    written = []
    for name, panels in (
        ("losses", [("training loss", losses)]),
        ("learning_rate", [("learning rate", rates)]),
        ("validation", [("validation (higher is better)", scores), ("validation (lower is better)", errors)]),
    ):
        panels = [(title, curves) for title, curves in panels if curves]
        if panels:
            written.append(_plot_panels(panels, Path(folder) / f"{name}.png", smooth=name == "losses"))
    return written


def plot_precision_recall(curves: Mapping[str, np.ndarray], path: str | Path, title: str = "IoU 0.5") -> Path:
    """Precision against recall. `curves`: class -> precision at equal steps of recall 0 ... 1 (R,); NaN: no objects."""
    figure, axes = new_figure((7, 6))
    for k, (name, precision) in enumerate(curves.items()):
        precision = np.asarray(precision, dtype=float)
        if precision.size and np.isfinite(precision).all():
            recall = np.linspace(0, 1, precision.size)
            axes.plot(recall, precision, color=curve_color(k), label=f"{name} ({precision.mean():.3f})")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=f"Precision and recall, {title}")
    _legend(axes)
    return save(figure, path)


def plot_class_ap(names: Sequence[str], values: Sequence[float | None], path: str | Path, metric: str = "AP") -> Path:
    """A bar for each class, best first; classes without objects (None) come last and say so."""
    rows = sorted(zip(names, values, strict=True), key=lambda row: -1.0 if row[1] is None else row[1])
    figure, axes = new_figure((7, max(2.0, 0.28 * len(rows) + 1)))
    axes.barh(range(len(rows)), [v or 0.0 for _, v in rows], color=curve_color(1))
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    for y, (_, value) in enumerate(rows):
        axes.text((value or 0.0) + 0.01, y, "n/a (0 objects)" if value is None else f"{value:.3f}", va="center")
    axes.set(xlim=(0, 1.12), ylim=(-0.6, max(len(rows), 1) - 0.4), xlabel=metric, title=f"{metric} per class")
    return save(figure, path)


def plot_study(
    names: Sequence[str], cells: Sequence[tuple[float | None, float | None]], path: str | Path, column: str
) -> Path:
    """A bar for each run of a study, in the order of its table. `cells`: (mean, spread over seeds), None: not known."""
    figure, axes = new_figure((7, max(2.0, 0.4 * len(names) + 1)))
    largest = max([mean + (spread or 0.0) for mean, spread in cells if mean is not None], default=0.0)
    for y, (_, (mean, spread)) in enumerate(zip(names, cells, strict=True)):
        if mean is not None:
            axes.barh(y, mean, xerr=spread, color=curve_color(1), capsize=3)
        text = "n/a" if mean is None else f"{mean:.3f}" + ("" if spread is None else f" ± {spread:.3f}")
        axes.text((mean or 0.0) + (spread or 0.0) + 0.01 * (largest or 1.0), y, text, va="center")
    axes.set_yticks(range(len(names)), list(names))
    axes.set(xlim=(0, 1.35 * (largest or 1.0)), ylim=(max(len(names), 1) - 0.4, -0.6), xlabel=column)
    return save(figure, path)


def plot_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: str | Path, key: str) -> Path:
    """Several runs' curves in one picture. `curves`: name -> (steps, values); noisy ones are smoothed."""
    panel = {name: (list(steps), list(values)) for name, (steps, values) in curves.items()}
    return _plot_panels([(f"{key}, mean over seeds", panel)], Path(path), smooth=True)


def _read(path: Path) -> list[dict[str, Any]]:
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and _number(record.get("step")) is not None:
            records.append(record)
    return records


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _curves(records: Sequence[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """name -> (steps, values), of every key that ever is a finite number."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for record in records:
        for key, value in record.items():
            number = _number(value)
            if key not in _NOT_METRICS and number is not None:
                steps, values = curves.setdefault(key, ([], []))
                steps.append(float(record["step"]))
                values.append(number)
    return curves


def _plot_panels(panels: Sequence[tuple[str, Any]], path: Path, smooth: bool) -> Path:
    figure, grid = new_figure((8, 4 * len(panels)), rows=len(panels))
    for (title, curves), axes in zip(panels, np.atleast_1d(grid), strict=True):
        for k, (name, (steps, values)) in enumerate(curves.items()):
            many = smooth and len(values) > 50
            axes.plot(steps, values, color=curve_color(k), alpha=0.25 if many else 1.0, label=None if many else name,
                      marker="o" if len(values) < 30 else None, markersize=3)  # fmt: skip
            if many:
                window = max(2, len(values) // 50)
                means = np.convolve(values, np.ones(window) / window, mode="valid")
                axes.plot(steps[window - 1 :], means, color=curve_color(k), label=name)
        axes.set(xlabel="step", title=title)
        axes.grid(alpha=0.3)
        _legend(axes)
    return save(figure, path)


def _legend(axes: Any) -> None:
    if 0 < len(axes.get_legend_handles_labels()[1]) <= 30:
        axes.legend(fontsize="small")

"""What an evaluation found, as a value, as a table for people and as a flat file for programs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.evaluation.files import write_json


@dataclass(frozen=True)
class ClassScores:
    """One row of the table."""

    name: str
    objects: int  # to be found: without crowds and difficult ones
    scores: dict[str, float | None]  # AP, AP50, segm_AP, VOC07_AP ...; None where there is no object


@dataclass(frozen=True)
class Report:
    """Everything an evaluation gives back; nothing is posted anywhere."""

    metrics: dict[str, float | None]  # keys of eval/metrics.json
    per_class: list[ClassScores]
    precision50: dict[str, np.ndarray] = field(default_factory=dict)  # class -> (101,) precision, NaN if no object

    def __str__(self) -> str:
        return class_table(self.per_class) + "\n\n" + headline(self.metrics)


def show(value: float | None, objects: int | None = None) -> str:
    """0.1234 -> "0.123"; None -> "n/a", with the reason when the number of objects is known to be 0."""
    if value is None or not math.isfinite(value):
        return "n/a (0 objects)" if objects == 0 else "n/a"
    return f"{value:.3f}"


def class_table(rows: list[ClassScores]) -> str:
    """Aligned columns, one class a line, in the order of the data set's classes."""
    columns = list(dict.fromkeys(key for row in rows for key in row.scores))
    lines = [["class", "objects", *columns]]
    for row in rows:
        lines.append([row.name, str(row.objects), *(show(row.scores.get(c), row.objects) for c in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    texts = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)


def headline(metrics: Mapping[str, float | None], per_line: int = 6) -> str:
    """The numbers as `name value`, six a line: the first line of a box evaluation is its six AP."""
    items = [f"{name} {show(value)}" for name, value in metrics.items()]
    return "\n".join("  ".join(items[i : i + per_line]) for i in range(0, len(items), per_line))


def write_metrics(path: str | Path, metrics: Mapping[str, Any]) -> None:
    """Writes one flat JSON object atomically. None, NaN and infinities become null: the file is always JSON.

    TypeError for a value that is not a number, a string or None.
    """
    write_json(path, {str(key): _plain(key, value) for key, value in metrics.items()}, indent=2)


def _plain(key: str, value: Any) -> float | int | str | None:
    if hasattr(value, "item"):  # numpy and torch scalars
        value = value.item()
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"metric {key} is a {type(value).__name__}; metrics are numbers")

"""A study: several runs of `tools/train.py`, each with several seeds, and one table with mean and spread.

Each run is a process of its own in a folder of its own (`<study>/<run>/seed<k>`), so a study that was interrupted goes
on where it stopped: finished runs are kept, an unfinished one resumes from its checkpoint.
"""

import difflib
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionkit.command_line import key_of, settings_of
from visionkit.errors import ConfigError, VisionKitError
from visionkit.run_folder import SUMMARY

KEYS = ("name", "base", "runs", "seeds", "columns", "plot", "curve", "speedup", "reference", "panels")
TRAIN_LOSS = "train_loss"  # a column that every study may have: see `Member.numbers`
LAST = 0.1  # the share of the steps that it is the mean of
OVERRIDES = "overrides.txt"
TRAIN = Path(__file__).resolve().parents[1] / "tools" / "train.py"


@dataclass(frozen=True)
class Member:
    """One run with one seed."""

    name: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path
    flags: tuple[str, ...] = ()  # --config-dir and the like

    @property
    def metrics(self) -> Path:
        return self.folder / "eval" / "metrics.json"

    @property
    def finished(self) -> bool:
        return self.metrics.exists() and (self.folder / SUMMARY).exists()

    def numbers(self) -> dict[str, Any]:
        """The run's eval/metrics.json and summary.json, and `train_loss`: the mean recorded loss of the last tenth of
        its steps."""
        numbers = json.loads(self.metrics.read_text())
        steps, losses = self.curve("loss")
        last = [loss for step, loss in zip(steps, losses, strict=True) if step > (1 - LAST) * max(steps)]
        summary = self.folder / SUMMARY
        numbers |= json.loads(summary.read_text()) if summary.exists() else {}
        return {**numbers, TRAIN_LOSS: statistics.fmean(last) if last else None}

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of a key of metrics.jsonl, as training recorded it; empty when it never did."""
        file = self.folder / "metrics.jsonl"
        lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
        points = [(r["step"], r[key]) for r in lines if r["split"] == "train" and r.get(key) is not None]
        return [step for step, _ in points], [value for _, value in points]

    def check_overrides(self) -> None:
        """ConfigError when the folder holds this run made with other overrides: its numbers are not the study's."""
        if not self.folder.exists() or not (self.folder / OVERRIDES).exists():
            return
        made = (self.folder / OVERRIDES).read_text().split("\n")
        if made != list(self.overrides):
            raise ConfigError(
                f"run {self.name} with seed {self.seed} in {self.folder} was made with {' '.join(made)}, and the study "
                f"now says {' '.join(self.overrides)}: restore it, remove that folder, or choose another output."
            )


def members(study: dict[str, Any], folder: Path, passed: Sequence[str] = ()) -> list[Member]:
    """All runs of a study, each with the words `passed` on to it, which win over its own.

    ConfigError when a key is missing, unknown or of the wrong kind.
    """
    settings = settings_of(passed)
    flags = tuple(word for word in passed if word not in settings)
    for key in study:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"a study has {', '.join(KEYS)}."
            raise ConfigError(f"unknown key {key} of the study; {hint}")
    runs, seeds = study.get("runs"), study.get("seeds", [0])
    if not isinstance(runs, dict) or not runs:
        raise ConfigError("a study needs `runs`: a name and a list of overrides for each.")
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds) or not seeds:
        raise ConfigError(f"a study's `seeds` is a list of whole numbers, not {seeds}.")
    base = _overrides(study.get("base"), "base")
    found = []
    for name, overrides in runs.items():
        words = _last_wins((*base, *_overrides(overrides, f"run {name}"), *settings))
        found += [
            Member(str(name), seed, words, folder / str(name) / f"seed{seed}", flags) for seed in dict.fromkeys(seeds)
        ]
    return found


def columns_of(study: dict[str, Any]) -> tuple[list[str], str]:
    """The metrics to compare, and the one to plot. ConfigError when they are of the wrong kind."""
    columns = study.get("columns") or ["AP"]
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise ConfigError(f"a study's `columns` is a list of metrics, such as [AP, AP50], not {columns}.")
    plot = study.get("plot") or columns[0]
    if plot not in columns:
        raise ConfigError(f"a study's `plot` is one of its columns, {', '.join(columns)}, not {plot}.")
    return columns, str(plot)


def _overrides(words: Any, where: str) -> tuple[str, ...]:
    words = [] if words is None else words
    if not isinstance(words, list) or not all(isinstance(word, str) and "=" in word for word in words):
        raise ConfigError(f"{where} of the study: {words} is not a list of key=value.")
    return tuple(words)


def _last_wins(words: Sequence[str]) -> tuple[str, ...]:
    """Of several settings of one key the last: Hydra refuses a group that is chosen twice."""
    return tuple({key_of(word): word for word in words}.values())


def run(member: Member) -> None:
    """Trains it, or goes on with it. Raises StudyRunError with the exit code when it fails."""
    member.folder.mkdir(parents=True, exist_ok=True)
    (member.folder / OVERRIDES).write_text("\n".join(member.overrides))
    command = [
        sys.executable,
        str(TRAIN),
        *member.flags,
        *member.overrides,
        f"seed={member.seed}",
        f"output={member.folder}",
    ]
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise StudyRunError(member, done.returncode)


class StudyRunError(VisionKitError):
    """A run of the study failed or was interrupted; the study leaves with the run's own exit code."""

    def __init__(self, member: Member, code: int) -> None:
        self.exit_code = code if code > 0 else 128 - code  # a negative one is the signal that ended it
        super().__init__(
            f"run {member.name} with seed {member.seed} ended with exit code {self.exit_code}; its lines are above. "
            "What was finished is kept: start the study again when it is mended."
        )


@dataclass(frozen=True)
class Row:
    """One run of the table; mean and spread (standard deviation, None for one seed) of each column over the seeds."""

    name: str
    seeds: int
    cells: dict[str, tuple[float | None, float | None]]


def rows(found: Sequence[Member], columns: Sequence[str]) -> list[Row]:
    """The finished members, gathered by run, in the order of the study.

    ConfigError for a column that no finished run has.
    """
    numbers = {member: member.numbers() for member in found if member.finished}
    known = {key for own in numbers.values() for key in own}
    for column in columns if known else ():
        if column not in known:
            raise ConfigError(
                f"column {column} of the study is no metric of its runs: they have {', '.join(sorted(known))}."
            )
    table = []
    for name in dict.fromkeys(member.name for member in found):
        metrics = [own for member, own in numbers.items() if member.name == name]
        cells = {}
        for column in columns:
            values = [m[column] for m in metrics if m.get(column) is not None]
            mean = statistics.fmean(values) if values else None
            cells[column] = (mean, statistics.stdev(values) if len(values) > 1 else None)
        table.append(Row(name, len(metrics), cells))
    return table


def chosen(study: Mapping[str, Any], key: str, columns: Sequence[str]) -> list[str]:
    """The columns that `speedup` or `panels` of a study names. ConfigError for one that is not among its columns."""
    names = study.get(key) or []
    if not isinstance(names, list) or not set(names) <= set(columns):
        raise ConfigError(f"a study's `{key}` is a list of its columns, {', '.join(columns)}, not {names}.")
    return names


def with_speedups(
    table: Sequence[Row], columns: Sequence[str], reference: str | None = None
) -> tuple[list[Row], list[str]]:
    """The rows with, for each of the columns, how many times less it is than in the row `reference` (None: the first),
    as the lecture's table has it; and the names of the new columns. ConfigError when there is no such run."""
    rows_by_name = {row.name: row for row in table}
    reference = table[0].name if reference is None else reference
    if reference not in rows_by_name:
        raise ConfigError(f"a study's `reference` is one of its runs, {', '.join(rows_by_name)}, not {reference}.")
    names = [f"{column}, times faster" for column in columns]
    found = []
    for row in table:
        cells = dict(row.cells)
        for column, name in zip(columns, names, strict=True):
            first, own = rows_by_name[reference].cells[column][0], row.cells[column][0]
            cells[name] = (first / own if first is not None and own else None, None)
        found.append(Row(row.name, row.seeds, cells))
    return found, names


def markdown(table: Sequence[Row], columns: Sequence[str]) -> str:
    """A Markdown table: `0.512 ± 0.004`, or `n/a`."""
    lines = [f"| run | seeds | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for row in table:
        lines.append(f"| {row.name} | {row.seeds} | {' | '.join(_cell(*row.cells[c]) for c in columns)} |")
    return "\n".join(lines)


def _cell(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return "n/a"
    if abs(mean) >= 1000:  # parameters, seconds
        return f"{mean:,.0f}" if not spread else f"{mean:,.0f} ± {spread:,.0f}"
    return f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"


def curves(found: Sequence[Member], key: str) -> dict[str, tuple[list[int], list[float]]]:
    """By run: the steps, and the mean over the seeds of what training recorded there. Runs that recorded none are left
    out; ConfigError when that is all of them."""
    gathered: dict[str, tuple[list[int], list[float]]] = {}
    for name in dict.fromkeys(member.name for member in found):
        seeds = [member.curve(key) for member in found if member.name == name and member.finished]
        seeds = [curve for curve in seeds if curve[0]]
        if seeds:
            length = min(len(steps) for steps, _ in seeds)
            means = [statistics.fmean(values[i] for _, values in seeds) for i in range(length)]
            gathered[name] = (seeds[0][0][:length], means)
    if not gathered:
        raise ConfigError(f"curve {key} of the study is nothing that its runs recorded while they trained.")
    return gathered


def curve_table(lines: Mapping[str, tuple[list[int], list[float]]], key: str, points: int = 8) -> str:
    """A Markdown table of the curves: each column the mean of an eighth of the steps."""
    last = max(steps[-1] for steps, _ in lines.values())
    edges = [last * (i + 1) / points for i in range(points)]
    text = [f"| {key} to step | {' | '.join(f'{edge:.0f}' for edge in edges)} |", f"|---|{'---|' * points}"]
    for name, (steps, values) in lines.items():
        cells = []
        for low, high in zip([0.0, *edges], edges, strict=False):
            part = [value for step, value in zip(steps, values, strict=True) if low < step <= high]
            cells.append(f"{statistics.fmean(part):.3f}" if part else "n/a")
        text.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(text)

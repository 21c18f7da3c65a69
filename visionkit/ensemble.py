"""Several models' probabilities of the same pictures, mixed, and compared on those pictures."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visionkit.errors import ConfigError, DataError
from visionkit.evaluation.accuracy import evaluate_classification
from visionkit.evaluation.bootstrap import Comparison, paired_bootstrap
from visionkit.evaluation.probabilities import PROBABILITIES, Probabilities, read_probabilities
from visionkit.evaluation.report import show

ENSEMBLE = "ensemble"
METRICS = ("top1", "top5", "val_loss", "ece")
RANKED = 5
LEAST = 1e-45  # the least probability above 0 in float32: the loss of a class that has 0 stays finite


class Row(NamedTuple):
    """One member, or the ensemble, in the table."""

    name: str
    metrics: dict[str, float | None]
    hits: np.ndarray  # (N,) float64, 1 where the best class is the true one


def read_members(places: Any) -> list[Probabilities]:
    """The members, their pictures and classes brought into the order of the first one's.

    Args:
        places: at least two: .npz files, or folders with one (a run's folder, or an evaluation's).
    Raises:
        ConfigError: fewer than two, or something that is no path.
        DataError: one that cannot be read, or whose pictures or classes are not those of the first one.
    """
    if not isinstance(places, list) or len(places) < 2 or not all(isinstance(place, str) for place in places):
        raise ConfigError(f"members={places}: at least two are wanted, members=[RUN,RUN,...].")
    files = [_file(Path(place).expanduser()) for place in places]
    members = [read_probabilities(file) for file in files]
    if not members[0].files:
        raise DataError(f"{files[0]}: there are no pictures in it.")
    aligned = [_aligned(members[0], member, files[0], file) for member, file in zip(members, files, strict=True)]
    names = [member.model for member in aligned]
    numbers = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [
        replace(member, model=f"{member.model} #{number}" if names.count(member.model) > 1 else member.model)
        for member, number in zip(aligned, numbers, strict=True)
    ]


def mixed(members: Sequence[Probabilities], weights: Any = None) -> Probabilities:
    """The mean of the members' probabilities. `weights`: a part for each, at least 0; None = the same for all.

    ConfigError when the weights do not fit the members.
    """
    parts = [1.0] * len(members) if weights is None else weights
    numbers = isinstance(parts, list) and all(isinstance(p, int | float) and not isinstance(p, bool) for p in parts)
    if not numbers or not all(0 <= part < float("inf") for part in parts) or not sum(parts):
        raise ConfigError(f"weights={parts}: a list of numbers of at least 0 is wanted, not all of them 0.")
    if len(parts) != len(members):
        raise ConfigError(f"weights={parts}: there are {len(parts)} for {len(members)} members.")
    values = np.zeros(members[0].values.shape)  # (N, K) float64; one member after the other, since they may be large
    for member, part in zip(members, parts, strict=True):
        values += part / sum(parts) * member.values
    return replace(members[0], model=ENSEMBLE, values=values.astype(np.float32))


def measured(found: Probabilities) -> Row:
    """Its accuracy, loss and calibration. Of equal probabilities the lower class stands first."""
    ranked = np.argsort(-found.values, axis=1, kind="stable")[:, :RANKED]  # (N, M)
    of_truth = found.values[np.arange(len(found.labels)), found.labels]
    losses = -np.log(np.maximum(of_truth.astype(np.float64), LEAST))
    confidences = found.values.max(axis=1)
    metrics = evaluate_classification(found.names, found.labels, ranked, losses, confidences).metrics
    return Row(found.model, metrics, (ranked[:, 0] == found.labels).astype(np.float64))


def best_of(rows: Sequence[Row]) -> int:
    """The member of the highest top-1; of equal ones the lower loss, then the first."""
    return min(range(len(rows)), key=lambda i: (-(rows[i].metrics["top1"] or 0.0), rows[i].metrics["val_loss"] or 0.0))


def comparisons(rows: Sequence[Row], ensemble: Row, resamples: Any, seed: int) -> list[tuple[str, str, Comparison]]:
    """The ensemble beside the best member, then each pair of members, the better one first."""
    if (
        isinstance(resamples, bool)
        or not isinstance(resamples, int | float)
        or not math.isfinite(resamples)
        or resamples != int(resamples)
        or resamples < 1
    ):
        raise ConfigError(f"resamples={resamples}: a whole number of at least 1 is wanted.")
    pairs = [(ensemble, rows[best_of(rows)])]
    pairs += [(a, b) if a.hits.sum() >= b.hits.sum() else (b, a) for a, b in combinations(rows, 2)]
    return [(a.name, b.name, paired_bootstrap(a.hits, b.hits, int(resamples), seed)) for a, b in pairs]


def tables(rows: Sequence[Row], compared: Sequence[tuple[str, str, Comparison]], resamples: int, pictures: int) -> str:
    """Two Markdown tables: what each one reaches, and which differences are more than chance."""
    lines = [f"| {pictures} pictures | {' | '.join(METRICS)} |", f"|---|{'---|' * len(METRICS)}"]
    lines += [f"| {row.name} | {' | '.join(show(row.metrics[key]) for key in METRICS)} |" for row in rows]
    lines += ["", f"Top-1, paired bootstrap over the pictures, {resamples:,} resamples:", ""]
    lines += ["| better | than | difference | 95 % interval | not better in |", "|---|---|---|---|---|"]
    for first, second, found in compared:
        interval = f"{found.low:+.3f} ... {found.high:+.3f}"
        lines.append(f"| {first} | {second} | {found.difference:+.3f} | {interval} | {100 * found.not_better:.1f} % |")
    return "\n".join(lines)


def _file(place: Path) -> Path:
    """The .npz of a member that is given as a folder."""
    if place.is_dir():
        for file in (place / PROBABILITIES, place / "eval" / PROBABILITIES):
            if file.is_file():
                return file
        raise DataError(
            f"{place} has no {PROBABILITIES}: write it with tools/evaluate.py checkpoint=... probabilities=true."
        )
    if place.suffix == ".pt":
        raise DataError(f"{place} is a checkpoint: give the folder of its run, evaluated with probabilities=true.")
    return place


def _aligned(first: Probabilities, other: Probabilities, first_file: Path, file: Path) -> Probabilities:
    """The other one's rows and columns in the order of the first one's, joined by the names of pictures and classes."""
    columns = {name: k for k, name in enumerate(other.names)}
    missing = [name for name in first.names if name not in columns]
    if missing or len(first.names) != len(other.names):
        culprit = missing[0] if missing else next(name for name in other.names if name not in first.names)
        raise DataError(f"{file} and {first_file} are of different classes, such as {culprit!r}.")
    rows = {key: i for i, key in enumerate(_keys(other.files))}
    wanted = _keys(first.files)
    lost = [key for key in wanted if key not in rows]
    if lost or len(wanted) != len(rows):
        culprit = (lost or [key for key in rows if key not in set(wanted)])[0][0]
        raise DataError(f"{file} and {first_file} are of different pictures, such as {culprit}.")
    order = np.array([rows[key] for key in wanted], np.int64)  # (N,)
    classes = np.array([columns[name] for name in first.names], np.int64)  # (K,)
    labels = np.argsort(classes)[other.labels[order]]  # (N,) positions in the first one's classes
    wrong = np.flatnonzero(labels != first.labels)
    if len(wrong):
        i = int(wrong[0])
        stated = f"{first.names[labels[i]]!r} and {first.names[first.labels[i]]!r}"
        raise DataError(f"{file} and {first_file} have different classes for {first.files[i]}: {stated}.")
    return replace(first, model=other.model, ids=other.ids[order], values=other.values[order][:, classes])


def _keys(files: Sequence[str]) -> list[tuple[str, int]]:
    """Each picture's name, and which of its name it is: several parts may be cut out of one file."""
    seen: dict[str, int] = {}
    keys = []
    for name in files:
        seen[name] = seen.get(name, 0) + 1
        keys.append((name, seen[name]))
    return keys

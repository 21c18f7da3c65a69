"""How far a trained network's layers follow, and ignore, motions of real pictures: measured, written and drawn."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from visionkit.errors import DataError
from visionkit.evaluation.files import write_json
from visionkit.explain.invariance import Answer, Row, measure
from visionkit.explain.motions import Motion, mirror, rotate, scale, shift, turn_over
from visionkit.picture_batches import picture_batches, with_classes
from visionkit.predictor import Predictor
from visionkit.viz.invariance_plot import plot_invariance

ROTATIONS = (5, 10, 15, 30, 45, 60, 75, 90, 105, 120, 135, 150, 165, 180)  # degrees
SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 1.75, 2.0)


@dataclass(frozen=True)
class Invariance:
    """What was measured.

    Attributes:
        rows: every layer under every motion.
        answers: what became of the best classes.
        pictures: how many were moved.
        files: what was written.
    """

    rows: tuple[Row, ...]
    answers: tuple[Answer, ...]
    pictures: int
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return table(self)


def default_motions(side: int) -> tuple[Motion, ...]:
    """For square pictures of `side` pixels: shifts to a quarter of it (56 pixels of 224), in steps of a 56th and some
    below; turns to 180 degrees; half to twice as large; both mirrorings."""
    step = max(1, side // 56)
    shifts = sorted({0.5, 1, 2, *range(step, side // 4 + 1, step)})
    found = [*map(shift, shifts), *map(rotate, ROTATIONS), *map(scale, SCALES), mirror(), turn_over()]
    return tuple(found)


def invariance(
    predictor: Predictor,
    paths: Sequence[str | Path],
    output: str | Path,
    motions: Sequence[Motion] | None = None,
    stages: Sequence[str] | None = None,
    margin: float = 0.25,
    batch_size: int = 16,
) -> Invariance:
    """Moves pictures and writes invariance.csv, invariance.json and invariance.png into the folder `output`.

    Args:
        predictor: of a classifier or a localizer.
        paths: picture files, at least two.
        motions: `default_motions` unless given.
        stages: of the trunk; all by default.
        margin: share of each side that is left out at every border, from 0 to below 0.5.
    Raises:
        ConfigError: another model, a stage that there is not.
        DataError: fewer than two pictures, or one that cannot be read.
    """
    model = with_classes(predictor.model, "invariance").eval()
    if len(paths) < 2:
        raise DataError(f"invariance compares different pictures, and there are {len(paths)}: two at least are wanted.")
    device = next(model.parameters()).device

    def batches() -> Iterator[Tensor]:
        for batch in picture_batches(model, paths, batch_size):
            yield model.normalize(batch.to(device)).contiguous()

    motions = default_motions(model.resize.canvas((1, 1))[0]) if motions is None else motions
    rows, answers = measure(model, batches(), motions, stages, margin)
    folder = Path(output)
    files = tuple(folder / f"invariance.{kind}" for kind in ("csv", "json", "png"))
    folder.mkdir(parents=True, exist_ok=True)
    with open(files[0], "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Row._fields, *rows])
    content = {"pictures": len(paths), "margin": margin, "rows": [row._asdict() for row in rows]}
    write_json(files[1], content | {"answers": [answer._asdict() for answer in answers]}, indent=1)
    draw(rows, files[2])
    return Invariance(tuple(rows), tuple(answers), len(paths), files)


def draw(rows: Sequence[Row], path: Path) -> None:
    """The curves of every layer, a column for each kind of motion; at no motion the distance is 0."""
    follows: dict[str, dict[str, list[tuple[float, float | None]]]] = {}
    ignores: dict[str, dict[str, list[tuple[float, float | None]]]] = {}
    still = {"shift": 0.0, "rotate": 0.0, "scale": 1.0}
    for row in rows:
        start = [(still[row.kind], 0.0)] if row.kind in still else []
        if row.layer not in ("vector", "probabilities"):
            follows.setdefault(row.kind, {}).setdefault(row.layer, list(start)).append((row.amount, row.follows))
        ignores.setdefault(row.kind, {}).setdefault(row.layer, list(start)).append((row.amount, row.ignores))
    for by_kind in (follows, ignores):
        for curves in by_kind.values():
            for curve in curves.values():
                curve.sort(key=lambda point: point[0])
    plot_invariance(follows, ignores, path)


def table(found: Invariance) -> str:
    """A line for each motion: what follows / ignores it, layer by layer, and what the answers do."""
    layers = list(dict.fromkeys(row.layer for row in found.rows))
    answers = {(answer.kind, answer.amount): answer for answer in found.answers}
    lines = [
        f"{found.pictures} pictures; follows/ignores: 0 = exactly, 1 = as far as different pictures",
        f"{'motion':16}" + "".join(f"{layer:>14}" for layer in layers) + f"{'class kept':>12}",
    ]
    by_motion: dict[tuple[str, float], dict[str, Row]] = {}
    for row in found.rows:
        by_motion.setdefault((row.kind, row.amount), {})[row.layer] = row
    for (kind, amount), rows in by_motion.items():
        cells = [f"{_number(rows[layer].follows)}/{_number(rows[layer].ignores)}" for layer in layers]
        answer = answers.get((kind, amount))
        kept = "" if answer is None else f"{answer.kept:12.3f}"
        name = kind if kind in ("mirror", "turn over") else f"{kind} {amount:g}"
        lines.append(f"{name:16}" + "".join(f"{cell:>14}" for cell in cells) + kept)
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

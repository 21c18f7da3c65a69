"""The pointing game on a data set with boxes: a table over methods, beside the middle of the picture as a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionkit.analysis.report import aligned
from visionkit.data.index import DetectionIndex, IndexTruth
from visionkit.data.labelled import LabelledIndex
from visionkit.data.progress import Progress
from visionkit.errors import ConfigError, DataError
from visionkit.evaluation.report import show
from visionkit.explain.choose_target import class_index
from visionkit.explain.methods import chosen_methods
from visionkit.explain.pointing import TOLERANCE, Shot, accuracy, class_accuracies, point_at
from visionkit.explain.seen_boxes import seen_boxes
from visionkit.explain.targets import class_score
from visionkit.explanation_checks import (
    checked_model,
    chosen_layer,
    joined_labels,
    picture,
    seen,
    spread,
    write_results,
)
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.ops.boxes import area
from visionkit.predictor import Predictor
from visionkit.viz.plots import plot_study

BASELINE = "centre"


@dataclass(frozen=True)
class PointingRow:
    """One method. A question is a picture and a class that it shows; None: there was none of the kind."""

    method: str
    questions: int
    accuracy: float | None  # share of hits, 0 ... 1
    class_mean: float | None  # mean over the classes of their shares, the paper's number
    single: int  # questions on pictures whose one object this is
    single_accuracy: float | None
    hard: int  # questions on objects that cover little and not the middle: `explain.pointing.hard`
    hard_accuracy: float | None
    exact_accuracy: float | None  # without any tolerance
    by_class: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PointingReport:
    rows: list[PointingRow]
    tolerance: float  # pixels of the network's image
    left_out: int  # pictures without an object that the network sees and knows

    def __str__(self) -> str:
        lines: list[Sequence[str]] = [("method", "all", "class mean", "single", "hard", "no tolerance")]
        for row in self.rows:
            name = f"{row.method} (baseline)" if row.method == BASELINE else row.method
            values = (row.accuracy, row.class_mean, row.single_accuracy, row.hard_accuracy, row.exact_accuracy)
            lines.append((name, *map(show, values)))
        first = self.rows[0]
        counts = (
            f"{first.questions} questions, {first.single} of them on single objects and {first.hard} hard; hits with "
            f"{self.tolerance:g} px of tolerance; {self.left_out} pictures left out, where the network sees no object "
            "of its classes"
        )
        return f"{aligned(lines, left=1)}\n\n{counts}"


def pointing_table(
    predictor: Predictor,
    index: DetectionIndex | LabelledIndex,
    methods: Sequence[str],
    folder: Path | None = None,
    layer: str | None = None,
    tolerance: float = TOLERANCE,
    label: str | None = None,
    limit: int | None = None,
) -> PointingReport:
    """Asks every method for every class in every picture: does the map's strongest pixel lie in a box of the class?

    Args:
        predictor: a classifier or localizer.
        index: a split with boxes; its classes are joined with the model's by name, and objects of others left out.
        methods: names of `explain.methods.METHODS`; the picture's middle is added.
        folder: gets pointing.txt, pointing.csv, pointing_classes.csv and pointing.png; None: nothing is written.
        layer: that Grad-CAM looks at; None = the last with places.
        tolerance: pixels of the network's image beside a box that count as hits.
        label: a class of the model that all boxes count as; None = join by name.
        limit: most pictures, spread over the split; None = all.
    Raises:
        ConfigError: data without boxes, a model without classes of pictures, an unknown method, layer or label.
        DataError: no picture, or none with an object that the network knows and sees.
    """
    model = checked_model(predictor)
    if not isinstance(index, DetectionIndex):
        raise ConfigError(f"the pointing game wants boxes, and {index.source} has none: choose data with boxes.")
    if tolerance < 0:
        raise ConfigError(f"tolerance={tolerance}: pixels, at least 0, are wanted.")
    known = class_index(predictor.names, label, key="label") if label is not None else None
    classes = (
        joined_labels(index.names, predictor.names, index.source)
        if known is None
        else dict.fromkeys(range(len(index.names)), known)
    )
    chosen = chosen_methods(list(dict.fromkeys((*methods, BASELINE))))
    at, positions = chosen_layer(model, layer), spread(len(index), limit)
    shots: dict[str, list[Shot]] = {name: [] for name in chosen}
    left_out = 0
    with Progress("pointing game", len(positions), "pictures") as progress:
        for i in positions:
            asked = questions(model, index.truth(i), index.size(i), classes)
            left_out += not asked
            images = seen(model, picture(index, i)) if asked else torch.zeros(0)
            for question in asked:
                score = class_score(model, question.label)
                for name, method in chosen.items():
                    found = method(model, score, images, at)[0]  # (H, W)
                    shots[name].append(point_at(found, question.boxes, question.label, question.single))
            progress.advance()
    if left_out == len(positions):
        raise DataError(f"{index.source}: the network sees no object of its classes in any picture.")
    rows = [_row(name, own, tolerance, predictor.names) for name, own in shots.items()]
    report = PointingReport(rows, tolerance, left_out)
    if folder is not None:
        _write(report, folder)
    return report


@dataclass(frozen=True)
class Question:
    """A class that a picture shows."""

    label: int  # of the model
    boxes: Tensor  # (N, 4) in pixels of the network's image
    single: bool


def questions(
    model: Classifier | Localizer, truth: IndexTruth, size: tuple[int, int], classes: dict[int, int]
) -> list[Question]:
    """By class of the model: the boxes of its objects that are not cut off wholly.

    Crowds and difficult objects are no question, but where the class has others as well a hit on them is one.
    """
    boxes = seen_boxes(model.resize, size, torch.from_numpy(truth.boxes))  # (G, 4)
    visible = area(boxes) > 0  # (G,)
    sound = visible & torch.from_numpy(~(truth.crowd | truth.difficult))  # (G,)
    labels = torch.tensor([classes.get(int(label), -1) for label in truth.labels], dtype=torch.int64)  # (G,)
    asked = sorted(set(labels[sound & (labels >= 0)].tolist()))
    single = len(truth.boxes) == 1
    return [Question(label, boxes[visible & (labels == label)], single) for label in asked]


def _row(name: str, shots: list[Shot], tolerance: float, names: Sequence[str]) -> PointingRow:
    by_class = class_accuracies(shots, tolerance)
    single, hard = [s for s in shots if s.single], [s for s in shots if s.hard]
    return PointingRow(
        name,
        len(shots),
        accuracy(shots, tolerance),
        sum(by_class.values()) / len(by_class) if by_class else None,
        len(single),
        accuracy(single, tolerance),
        len(hard),
        accuracy(hard, tolerance),
        accuracy(shots, 0.0),
        {names[label]: value for label, value in by_class.items()},
    )


def _write(report: PointingReport, folder: Path) -> None:
    records = [{key: value for key, value in vars(row).items() if key != "by_class"} for row in report.rows]
    write_results(folder, "pointing", str(report), records)
    classes = list(report.rows[0].by_class)
    table: list[dict[str, Any]] = [
        {"class": name, **{row.method: row.by_class[name] for row in report.rows}} for name in classes
    ]
    write_results(folder, "pointing_classes", _classes_text(table), table)
    cells = [(row.accuracy, None) for row in report.rows]
    plot_study([row.method for row in report.rows], cells, folder / "pointing.png", "share of hits")


def _classes_text(table: list[dict[str, Any]]) -> str:
    lines: list[Sequence[str]] = [list(table[0])]
    lines += [[value if isinstance(value, str) else show(value) for value in row.values()] for row in table]
    return aligned(lines, left=1)

"""Deletion and insertion on the pictures of a data set: a table over methods, beside a random order as a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from visionkit.analysis.report import aligned
from visionkit.data.index import DetectionIndex
from visionkit.data.labelled import LabelledIndex
from visionkit.data.progress import Progress
from visionkit.explain.choose_target import class_index
from visionkit.explain.deletion import area, deletion_curve, importance_order, insertion_curve, random_order
from visionkit.explain.methods import chosen_methods
from visionkit.explain.targets import class_probability, class_score
from visionkit.explanation_checks import (
    checked_model,
    chosen_layer,
    picture,
    seen,
    spread,
    top_class,
    write_results,
)
from visionkit.ops.hashing import mix
from visionkit.predictor import Predictor
from visionkit.viz.deletion_plot import plot_deletion

RANDOM = "random order"


@dataclass(frozen=True)
class DeletionRow:
    """One method, means over the pictures."""

    method: str
    pictures: int
    deletion: float  # area under the curve, 0 ... 1; less is better
    insertion: float  # likewise; more is better
    deletion_curve: tuple[float, ...]  # probability after 0 ... all of the pixels are deleted
    insertion_curve: tuple[float, ...]


@dataclass(frozen=True)
class DeletionReport:
    rows: list[DeletionRow]

    def __str__(self) -> str:
        lines = [("method", "deletion (less)", "insertion (more)")]
        lines += [(row.method, f"{row.deletion:.3f}", f"{row.insertion:.3f}") for row in self.rows]
        first = self.rows[0]
        told = (
            f"areas under the probability of the class over {first.pictures} pictures, in "
            f"{len(first.deletion_curve) - 1} steps; deleted pixels get the mean colour, inserted ones replace the "
            "blurred picture"
        )
        return f"{aligned(lines, left=1)}\n\n{told}"


def deletion_table(
    predictor: Predictor,
    index: DetectionIndex | LabelledIndex,
    methods: Sequence[str],
    folder: Path | None = None,
    layer: str | None = None,
    label: str | None = None,
    steps: int = 50,
    limit: int | None = 24,
    seed: int = 0,
    batch_size: int = 16,
) -> DeletionReport:
    """Deletes and inserts the pixels of every picture in the order of every method's map.

    Args:
        predictor: a classifier or localizer.
        index: a split of any kind; only its pictures are used.
        methods: names of `explain.methods.METHODS`; a random order is added.
        folder: gets deletion.txt, deletion.csv and deletion.png; None: nothing is written.
        layer: that Grad-CAM looks at; None = the last with places.
        label: the class that is explained; None = each picture's most probable one, as in the paper.
        steps: of a curve.
        limit: most pictures, spread over the split; None = all.
        seed: of the random order.
        batch_size: images that the network sees at a time.
    Raises:
        ConfigError: a model without classes of pictures, an unknown method, layer or label, a number out of range.
        DataError: no picture.
    """
    model, chosen = checked_model(predictor), chosen_methods(list(dict.fromkeys(methods)))
    given = None if label is None else class_index(predictor.names, label, key="label")
    at, positions = chosen_layer(model, layer), spread(len(index), limit)
    curves: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in (*chosen, RANDOM)}
    with Progress("deletion and insertion", len(positions), "pictures") as progress:
        for i in positions:
            images = seen(model, picture(index, i))  # (1, C, H, W)
            k = top_class(model, images) if given is None else given
            score, probability = class_score(model, k), class_probability(model, k)
            size = (images.shape[-2], images.shape[-1])
            orders = {name: importance_order(method(model, score, images, at)) for name, method in chosen.items()}
            orders[RANDOM] = random_order(1, size, mix(seed, i))
            for name, order in orders.items():
                deleted = deletion_curve(probability, images, order, steps, batch_size)[0]
                inserted = insertion_curve(probability, images, order, steps, batch_size)[0]
                curves[name].append((deleted, inserted))
            progress.advance()
    report = DeletionReport([_row(name, own) for name, own in curves.items()])
    if folder is not None:
        records = [{key: v for key, v in vars(row).items() if not key.endswith("_curve")} for row in report.rows]
        write_results(folder, "deletion", str(report), records)
        pairs = {row.method: (row.deletion_curve, row.insertion_curve) for row in report.rows}
        plot_deletion(pairs, folder / "deletion.png")
    return report


def _row(name: str, curves: list[tuple[Tensor, Tensor]]) -> DeletionRow:
    deleted, inserted = (torch.stack(own) for own in zip(*curves, strict=True))  # (N, steps + 1) each
    return DeletionRow(
        name,
        len(curves),
        float(area(deleted).mean()),
        float(area(inserted).mean()),
        tuple(deleted.mean(dim=0).tolist()),
        tuple(inserted.mean(dim=0).tolist()),
    )

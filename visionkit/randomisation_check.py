"""The randomisation check on the pictures of a data set: how alike the maps of each method stay while the network's
weights are replaced by fresh ones, from the last layer down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from visionkit.analysis.report import aligned
from visionkit.assemble import build_model
from visionkit.config import from_plain
from visionkit.data.index import DetectionIndex
from visionkit.data.labelled import LabelledIndex
from visionkit.data.progress import Progress
from visionkit.errors import ConfigError
from visionkit.explain.choose_target import class_index
from visionkit.explain.methods import chosen_methods
from visionkit.explain.randomisation import cascade, weight_layers
from visionkit.explain.similarity import rank_correlation, structural_similarity
from visionkit.explain.targets import class_score
from visionkit.explanation_checks import (
    checked_model,
    chosen_layer,
    picture,
    seen,
    spread,
    top_class,
    write_results,
)
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.predictor import Predictor
from visionkit.viz.randomisation_plot import plot_randomisation


@dataclass(frozen=True)
class RandomisationRow:
    """One method after one step of the cascade, means over the pictures."""

    method: str
    down_to: str  # the path of the layer that was replaced last
    layers: int  # how many were replaced, the last of the network first
    pictures: int
    rank_correlation: float | None  # of the maps before and after, -1 ... 1; None: every map was blank
    ssim: float  # likewise
    blank: int  # pictures whose map is the same everywhere, before or after: they have no order


@dataclass(frozen=True)
class RandomisationReport:
    rows: list[RandomisationRow]

    def __str__(self) -> str:
        methods, steps = (list(dict.fromkeys(getattr(row, key) for row in self.rows)) for key in ("method", "down_to"))
        at = {(row.method, row.down_to): row for row in self.rows}
        tables = []
        for title, key in (("rank correlation", "rank_correlation"), ("SSIM", "ssim")):
            lines = [(f"{title}; fresh down to", *methods)]
            for step in steps:
                values = [getattr(at[method, step], key) for method in methods]
                lines.append((step, *("n/a" if v is None else f"{v:.3f}" for v in values)))
            tables.append(aligned(lines, left=1))
        blank = {method: sum(row.blank for row in self.rows if row.method == method) for method in methods}
        listed = ", ".join(f"{method} {count}" for method, count in blank.items() if count)
        told = f"means over {self.rows[0].pictures} pictures"
        if listed:
            told += f"; pairs with a map that is the same everywhere have no rank correlation: {listed}"
        return "\n\n".join([*tables, told])


def randomisation_table(
    predictor: Predictor,
    index: DetectionIndex | LabelledIndex,
    methods: Sequence[str],
    folder: Path | None = None,
    layer: str | None = None,
    label: str | None = None,
    steps: int | None = 8,
    limit: int | None = 24,
    seed: int = 0,
) -> RandomisationReport:
    """Compares every method's maps with those of the network whose last layers are fresh.

    Args:
        predictor: a classifier or localizer, with the configuration that its network is built from anew.
        index: a split of any kind; only its pictures are used.
        methods: names of `explain.methods.METHODS`.
        folder: gets randomisation.txt, randomisation.csv and randomisation.png; None: nothing is written.
        layer: that Grad-CAM looks at; None = the last with places.
        label: the class that is explained; None = each picture's most probable one before any weight is replaced.
        steps: at most so many points of the cascade are looked at, spread over it, the first and the last among them;
            None = after each layer.
        limit: most pictures, spread over the split; None = all.
        seed: of the fresh weights.
    Raises:
        ConfigError: a model without classes of pictures, an unknown method, layer or label, a number out of range.
        DataError: no picture.
    """
    if steps is not None and steps < 2:
        raise ConfigError(f"steps={steps}: null or a whole number of at least 2, for both ends, is wanted.")
    model, chosen = checked_model(predictor), chosen_methods(list(dict.fromkeys(methods)))
    given = None if label is None else class_index(predictor.names, label, key="label")
    at, positions = chosen_layer(model, layer), spread(len(index), limit)
    inputs = [seen(model, picture(index, i)) for i in positions]  # (1, C, H, W) each
    labels = [top_class(model, images) if given is None else given for images in inputs]

    def maps(network: Classifier | Localizer) -> dict[str, list[Tensor]]:
        found: dict[str, list[Tensor]] = {name: [] for name in chosen}
        for images, k in zip(inputs, labels, strict=True):
            score = class_score(network, k)
            for name, method in chosen.items():
                found[name].append(method(network, score, images, at)[0])  # (H, W)
        return found

    layers = weight_layers(model, class_score(model, labels[0]), inputs[0])
    points = set(_points(len(layers), steps))
    rows: list[RandomisationRow] = []
    with Progress("randomisation", len(points) + 1, "networks") as progress:
        before = maps(model)
        progress.advance()
        for count, (path, changed) in enumerate(cascade(model, fresh_model(predictor, seed), layers), 1):
            if count in points:
                assert isinstance(changed, Classifier | Localizer)  # a copy of one
                after = maps(changed)
                rows += [_row(name, path, count, before[name], after[name]) for name in chosen]
                progress.advance()
    report = RandomisationReport(rows)
    if folder is not None:
        write_results(folder, "randomisation", str(report), [vars(row) for row in rows])
        plot_randomisation([(r.method, r.down_to, r.rank_correlation) for r in rows], folder / "randomisation.png")
    return report


def fresh_model(predictor: Predictor, seed: int) -> Classifier | Localizer:
    """The predictor's network with the weights that its builder gives it, drawn by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(from_plain(predictor.config), len(predictor.names), pretrained=False)
    assert isinstance(model, Classifier | Localizer)  # as the predictor's
    return model


def _row(name: str, path: str, count: int, before: list[Tensor], after: list[Tensor]) -> RandomisationRow:
    pairs = list(zip(before, after, strict=True))
    ranks = [value for value in (rank_correlation(a, b) for a, b in pairs) if value is not None]
    ssim = fmean(structural_similarity(a, b) for a, b in pairs)
    mean = fmean(ranks) if ranks else None
    return RandomisationRow(name, path, count, len(pairs), mean, ssim, len(pairs) - len(ranks))


def _points(count: int, most: int | None) -> list[int]:
    """At most so many of 1 ... count, evenly, with both ends."""
    taken = count if most is None else min(count, most)
    return [1 + k * (count - 1) // max(1, taken - 1) for k in range(taken)]

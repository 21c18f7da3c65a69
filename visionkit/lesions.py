"""Layers deleted from a trained network one by one and in groups, and what its answers to real pictures are then."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from visionkit.errors import DataError
from visionkit.evaluation.files import write_json
from visionkit.explain.lesions import Part, deletable, deleted, random_groups
from visionkit.explain.targets import class_logits
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.picture_batches import picture_batches, with_classes
from visionkit.predictor import Predictor
from visionkit.structures import Batch
from visionkit.viz.lesion_plot import plot_lesions

SIZES = (2, 3, 4, 5, 6, 8, 10)
FIELDS = ("deleted", "parts", "keeps_shape", "accuracy")


@dataclass(frozen=True)
class Lesion:
    """What was deleted, and what was left of the answers.

    Attributes:
        parts: paths in the model, in the order of execution.
        keeps_shape: whether the identity alone is left of all of them.
        accuracy: share of right answers, or without labels of those that stay as they were.
    """

    parts: tuple[str, ...]
    keeps_shape: bool
    accuracy: float


@dataclass(frozen=True)
class Lesions:
    """What was measured.

    Attributes:
        residual: whether the parts are residual blocks, or layers of a sequential network.
        labelled: whether answers were compared with labels, or with those of the whole network.
        pictures: how many.
        whole: accuracy of the network with everything.
        singles: each part deleted by itself, in the order of execution.
        groups: parts deleted together, drawn by chance, the smaller groups first.
        files: what was written.
    """

    residual: bool
    labelled: bool
    pictures: int
    whole: float
    singles: tuple[Lesion, ...]
    groups: tuple[Lesion, ...]
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return table(self)


def folder_labels(paths: Sequence[str | Path], names: Sequence[str]) -> list[int] | None:
    """Where every picture lies in a folder called like a class: its position among `names`. None otherwise."""
    position = {name: k for k, name in enumerate(names)}
    folders = [Path(path).parent.name for path in paths]
    return [position[name] for name in folders] if folders and all(name in position for name in folders) else None


def lesions(
    predictor: Predictor,
    paths: Sequence[str | Path],
    output: str | Path,
    labels: Sequence[int] | None = None,
    sizes: Sequence[int] = SIZES,
    draws: int = 5,
    seed: int = 0,
    batch_size: int = 100,
) -> Lesions:
    """Deletes each part by itself, then groups, and writes lesions.csv, lesions.json and lesions.png into `output`.

    Args:
        predictor: of a classifier or a localizer; its network is the same afterwards.
        paths: picture files.
        labels: position of each picture's class among the predictor's names; by default that of its folder, and where
            folders are no classes the answers are compared with those of the whole network.
        sizes: of the groups; those larger than the network has parts are left out.
        draws: groups of each size; `seed` decides which.
    Raises:
        ConfigError: another model, or one with nothing that can be deleted.
        DataError: no pictures, not one label for each, or a picture that cannot be read.
    """
    model = with_classes(predictor.model, "lesions").eval()
    if not paths:
        raise DataError("lesions are measured on pictures, and there is none.")
    if labels is not None and len(labels) != len(paths):
        raise DataError(f"lesions: {len(labels)} labels were given for {len(paths)} pictures.")
    parts = deletable(model)
    known = folder_labels(paths, predictor.names) if labels is None else labels
    batches = list(picture_batches(model, paths, batch_size))
    answers = _answers(model, batches)
    truth = answers if known is None else torch.tensor(known)  # (N,)

    def lesion(chosen: Sequence[Part]) -> Lesion:
        with deleted(model, chosen):
            accuracy = _share(_answers(model, batches), truth)
        return Lesion(tuple(part.path for part in chosen), all(part.keeps_shape for part in chosen), accuracy)

    singles = tuple(lesion([part]) for part in parts)
    groups = tuple(lesion([parts[k] for k in group]) for group in random_groups(len(parts), sizes, draws, seed))
    folder = Path(output)
    files = tuple(folder / f"lesions.{kind}" for kind in ("csv", "json", "png"))
    residual = bool(parts[0].zeroed)
    found = Lesions(residual, known is not None, len(paths), _share(answers, truth), singles, groups, files)
    _write(found, seed)
    label = "accuracy" if found.labelled else "answers that stay"
    draw({"residual blocks" if residual else "layers": found}, files[2], 1 / len(predictor.names), label)
    return found


def draw(found: dict[str, Lesions], path: Path, chance: float | None = None, label: str = "accuracy") -> None:
    """One network or several in one picture, by what they are called."""
    singles = {
        name: [(x.parts[0].removeprefix("backbone."), x.accuracy, x.keeps_shape) for x in one.singles]
        for name, one in found.items()
    }
    together = {
        name: [(0, one.whole), *((len(x.parts), x.accuracy) for x in (*one.singles, *one.groups))]
        for name, one in found.items()
    }
    plot_lesions({name: one.whole for name, one in found.items()}, singles, together, path, chance, label)


def table(found: Lesions) -> str:
    """The whole network, each part deleted, then the mean, the best and the worst of each size of group."""
    what = "block" if found.residual else "layer"
    measured = "right answers" if found.labelled else "answers that stay"
    lines = [f"{found.pictures} pictures; {measured}: {found.whole:.3f} with everything"]
    for one in found.singles:
        lines.append(
            f"without {one.parts[0]:32}{one.accuracy:.3f}" + ("" if one.keeps_shape else "  changes the shape")
        )
    if found.singles:
        worst = min(found.singles, key=lambda one: one.accuracy)
        lines.append(
            f"without one {what}, mean {_mean(found.singles):.3f}, worst {worst.accuracy:.3f} {worst.parts[0]}"
        )
    for size in sorted({len(one.parts) for one in found.groups}):
        same = [one for one in found.groups if len(one.parts) == size]
        low, high = (pick(one.accuracy for one in same) for pick in (min, max))
        lines.append(f"without {size} {what}s, mean {_mean(same):.3f} ({low:.3f} ... {high:.3f} in {len(same)} draws)")
    return "\n".join(lines)


@torch.no_grad()
def _answers(model: Classifier | Localizer, batches: Sequence[Batch]) -> Tensor:
    """The best class of every picture, (N,) int64 on the CPU."""
    device, logits = next(model.parameters()).device, class_logits(model)
    return torch.cat([logits(model.normalize(batch.to(device))).argmax(dim=1).cpu() for batch in batches])


def _share(answers: Tensor, truth: Tensor) -> float:
    return float((answers == truth).double().mean())


def _mean(found: Sequence[Lesion]) -> float:
    return sum(one.accuracy for one in found) / len(found)


def _write(found: Lesions, seed: int) -> None:
    folder = found.files[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(len(x.parts), " ".join(x.parts), x.keeps_shape, x.accuracy) for x in (*found.singles, *found.groups)]
    with open(found.files[0], "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([FIELDS, (0, "", True, found.whole), *rows])
    content = {"residual": found.residual, "labelled": found.labelled, "pictures": found.pictures, "seed": seed}
    entries = [dict(zip(FIELDS, row, strict=True)) for row in rows]
    write_json(found.files[1], content | {"whole": found.whole, "lesions": entries}, indent=1)

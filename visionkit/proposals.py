"""What `tools/propose.py` does where data, searches and networks meet: a method's proposals, their table and plot."""

import difflib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from visionkit.config import CONFIGS, instantiate
from visionkit.data.image import read_image
from visionkit.data.import_proposals import FORMATS, import_proposals
from visionkit.data.index import DetectionIndex
from visionkit.data.progress import Progress
from visionkit.data.proposal_match import file_digests
from visionkit.data.proposal_set import ProposalSet, pack_proposals, settings_digest, short_name
from visionkit.data.proposals import (
    default_folder,
    find_proposals,
    proposals_of,
    proposals_path,
    read_proposals,
    write_proposals,
)
from visionkit.errors import ConfigError
from visionkit.evaluation.proposal_recall import Coverage, coverage
from visionkit.evaluation.report import write_metrics
from visionkit.evaluation.truth import TruthTable
from visionkit.models.pixels import batch_of
from visionkit.models.region_detector import RegionDetector
from visionkit.ops.boxes import clip, scale
from visionkit.predictor import load

THRESHOLDS = (0.5, 0.7)


@dataclass(frozen=True)
class Measured:
    """One method on one split."""

    proposals: ProposalSet
    coverage: Coverage


def searches(names: Sequence[Any], chosen: Any) -> dict[str, Any]:
    """Name -> search, or None where the name is a file of proposals.

    The group's own choice keeps the settings of the command line: `chosen` is its node; other options are as their
    files in configs/search say. ConfigError for what is neither an option nor a file.
    """
    options = {file.stem: file for file in sorted((CONFIGS / "search").glob("*.yaml"))}
    found: dict[str, Any] = {}
    for name in map(str, names):
        if name in options:
            node = yaml.safe_load(options[name].read_text(encoding="utf-8"))
            found[name] = instantiate(chosen if _same_kind(node, chosen) else node)
        elif Path(name).expanduser().is_file():
            found[name] = None
        else:
            near = difflib.get_close_matches(name, options, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(options)}."
            raise ConfigError(f"compare: {name} is neither a file nor an option of the group search; {hint}")
    return found


def _same_kind(node: Mapping[str, Any], chosen: Any) -> bool:
    return all(node.get(key) == chosen.get(key) for key in ("_target_", "mode"))


def found_by(
    index: DetectionIndex, name: str, search: Any, workers: int, folder: str | os.PathLike[str] | None
) -> tuple[ProposalSet, str]:
    """The proposals of a search, computed where they are not stored, or of a file; and where they lie."""
    if search is None:
        return proposals_of(index, [read_proposals(Path(name).expanduser())]), name
    path = proposals_path(index, search, None if folder is None else Path(folder))
    return find_proposals(index, search, workers, folder), str(path)


def imported(
    file: str, index: DetectionIndex, format: str | None, folder: str | os.PathLike[str] | None
) -> tuple[ProposalSet, Path]:
    """A file of others as ours, and where it is kept from now on. Prints what was left out or clipped."""
    if format is None:
        raise ConfigError(f"import=... needs format=..., how the boxes are written: {', '.join(FORMATS)}.")
    report: list[str] = []
    found = import_proposals(file, index, format, report=report)
    for line in report:
        print(line)
    kept = default_folder() if folder is None else Path(folder)
    path = kept / f"{found.method}-{settings_digest(found.method, found.settings)}-{Path(file).stem}.npz"
    write_proposals(path, found)
    return found, path


def network_proposals(path: str | os.PathLike[str], index: DetectionIndex, device: str | torch.device) -> ProposalSet:
    """What the region proposal network of a checkpoint proposes, in pixels of the files.

    The time is that of trunk and proposals: what a detector pays once more for them is nothing. ConfigError when the
    checkpoint's model proposes no regions by itself.
    """
    model = load(str(path), device).model
    if not isinstance(model, RegionDetector) or not model.propose.loss_names:
        raise ConfigError(f"{path} has no region proposal network; train one with task=faster_rcnn.")
    proposed, seconds = [], 0.0
    with Progress("rpn, proposals", len(index), "pictures") as progress, torch.inference_mode():
        if len(index):
            _proposed(model, read_image(index.path(0)), device)  # the first call of a network takes longer
        for i in range(len(index)):
            image = read_image(index.path(i))
            start = time.perf_counter()
            proposed.append(_proposed(model, image, device))
            seconds += time.perf_counter() - start
            progress.advance()
    names = [short_name(index.path(i)) for i in range(len(index))]
    settings = {"checkpoint": str(path)}
    return pack_proposals("rpn", settings, names, list(file_digests(index)), index.sizes, proposed, seconds, str(path))


def _proposed(model: RegionDetector, image: np.ndarray, device: str | torch.device) -> tuple[np.ndarray, np.ndarray]:
    batch = batch_of(image, model.resize).to(device)
    found, _ = model.propose(batch, model.encode.maps(batch))
    kept = found.valid[0]
    original = (image.shape[0], image.shape[1])
    height, width = batch.sizes[0].tolist()
    boxes = scale(found.boxes[0][kept].float(), (original[0] / height, original[1] / width))  # (P, 4)
    boxes = clip(boxes, original)
    sound = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    scores = found.scores[0][kept].float()
    return boxes[sound].cpu().numpy(), scores[sound].cpu().numpy()


def measure(index: DetectionIndex, proposals: ProposalSet, smallest: float = 0.0) -> Measured:
    """The proposals, which are in the order of the index, against its truth."""
    truth = TruthTable.from_index(index)
    return Measured(proposals, coverage(lambda i: proposals.proposed(i)[0], truth, smallest=smallest))


def figures(measured: Mapping[str, Measured]) -> dict[str, float | None]:
    """The table's numbers, flat, as `METHOD/recall@0.5`."""
    found: dict[str, float | None] = {}
    for name, one in measured.items():
        cover = one.coverage
        found[f"{name}/boxes"] = float(cover.boxes_an_image[-1])
        for threshold in THRESHOLDS:
            found[f"{name}/recall@{threshold}"] = float(cover.recall(threshold)[-1])
        found[f"{name}/AR"] = float(cover.average_recall()[-1])
        found[f"{name}/MABO"] = float(cover.mean_best_overlap()[-1])
        found[f"{name}/seconds"] = one.proposals.seconds_an_image()
    return found


def write(measured: Mapping[str, Measured], folder: Path, split: str) -> list[Path]:
    """`recall_SPLIT.json` and `recall_SPLIT.png`."""
    from visionkit.viz.proposal_plots import plot_recall  # matplotlib: half a second

    folder.mkdir(parents=True, exist_ok=True)
    write_metrics(folder / f"recall_{split}.json", figures(measured))

    def curves(values: Callable[[Coverage], np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {name: (one.coverage.boxes_an_image, values(one.coverage)) for name, one in measured.items()}

    panels = {f"IoU {t}": curves(lambda cover, t=t: cover.recall(t)) for t in THRESHOLDS}  # type: ignore[misc]
    return [folder / f"recall_{split}.json", plot_recall(panels, folder / f"recall_{split}.png")]

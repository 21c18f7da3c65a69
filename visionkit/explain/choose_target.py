"""From a person's words to what is explained: `tabby`, `detection:2:x1`, `proposal`, `pixel:40:120`, `road`."""

import difflib
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visionkit.errors import ConfigError, some_of
from visionkit.explain.detection_targets import (
    Traced,
    box_edge_target,
    detection_target,
    mask_target,
    proposal_target,
    traced_detections,
)
from visionkit.explain.segment_targets import pixel_target, segment_target
from visionkit.explain.targets import EDGES, Target, class_logits, class_target, count_target, edge_target
from visionkit.models.classifier import Classifier
from visionkit.models.counter import Counter
from visionkit.models.localizer import Localizer
from visionkit.models.patch_segmenter import PatchSegmenter
from visionkit.models.region_detector import RegionDetector
from visionkit.models.segmenter import Segmenter
from visionkit.structures import Batch

AUTO = "auto"
SYNTAX = {
    Classifier: "auto or a class",
    Localizer: "auto, a class, or box:x1 (y1, x2, y2)",
    RegionDetector: "auto, a class, detection:0, detection:0:x1, mask:0, proposal:0 or proposal:0:x1",
    Segmenter: "auto, a class, pixel:X:Y or pixel:X:Y:CLASS",
    PatchSegmenter: "auto, a class, pixel:X:Y or pixel:X:Y:CLASS",
    Counter: "auto, the count",
}


def choose_target(
    model: nn.Module, names: Sequence[str], batch: Batch, text: str = AUTO, original: tuple[int, int] | None = None
) -> Target:
    """The target that a text names, for a batch of one picture.

    Args:
        model: in eval mode.
        names: of the classes.
        text: "auto" is the most probable class, the best detection, the class of the most pixels, the count. Numbers
            of detections and proposals begin with 0, the best. SYNTAX lists what each model takes.
        original: (height, width) of the file, which the numbers of pixel:X:Y refer to; None = the network's image.
    Raises:
        ConfigError: a text that names nothing here, or what was not found in this picture.
    """
    names = tuple(names)
    if isinstance(model, Classifier | Localizer):
        return _of_picture(model, names, model.normalize(batch), text)
    if isinstance(model, RegionDetector):
        return _of_detector(model, names, batch, text)
    if isinstance(model, Segmenter | PatchSegmenter):
        return _of_pixels(model, names, batch, text, original)
    if isinstance(model, Counter):
        if text != AUTO:
            raise ConfigError(f"target={text}: of a counter the count is explained, target=auto.")
        height, width = (int(side) for side in batch.sizes[0])
        return count_target(model, names[0], model.normalize(batch), (height, width))
    raise ConfigError(f"explanations of a {type(model).__name__} are not there; of {_kinds()} they are.")


def _of_picture(model: Classifier | Localizer, names: tuple[str, ...], images: Tensor, text: str) -> Target:
    with torch.no_grad():
        best = int(class_logits(model)(images)[0].argmax())
    words = text.split(":")
    if text not in names and words[0] == "box" and isinstance(model, Localizer):
        edge = words[1] if len(words) > 1 else ""
        if len(words) != 2 or edge not in EDGES:
            raise ConfigError(f"target={text}: an edge of the box is box:x1, box:y1, box:x2 or box:y2.")
        return edge_target(model, best, names[best], edge, images)
    label = (
        best
        if text == AUTO
        else class_index(names, text, SYNTAX[Localizer if isinstance(model, Localizer) else Classifier])
    )
    return class_target(model, label, names[label], images)


def _of_detector(model: RegionDetector, names: tuple[str, ...], batch: Batch, text: str) -> Target:
    kind, *rest = text.split(":") if text not in names else [text]
    if text not in names and kind == "proposal":
        rank, edge = _rank_and_edge(text, rest)
        return proposal_target(model, batch, rank, edge)
    traced = traced_detections(model, batch)
    if text not in names and kind in ("detection", "mask"):
        rank, edge = _rank_and_edge(text, rest)
        if kind == "mask" and edge is not None:
            raise ConfigError(
                f"target={text} is not understood; a mask has no edges: mask:{rank}, detection:{rank}:{edge}."
            )
        if kind == "mask":
            return mask_target(model, batch, traced, rank, names)
        if edge is not None:
            return box_edge_target(model, traced, rank, edge, names)
        return detection_target(model, traced, rank, names)
    if text == AUTO:
        if len(traced.found.labels) == 0:
            raise ConfigError("target=auto: the model found nothing in this picture; target=proposal explains the RPN.")
        return detection_target(model, traced, 0, names)
    label = class_index(names, text, SYNTAX[RegionDetector])
    ranks = (traced.found.labels == label).nonzero()[:, 0].tolist()
    if not ranks:
        raise ConfigError(
            f"target={names[label]}: the model found no {names[label]} in this picture; {_found(traced, names)}."
        )
    return detection_target(model, traced, ranks[0], names)


def _of_pixels(
    model: Segmenter | PatchSegmenter,
    names: tuple[str, ...],
    batch: Batch,
    text: str,
    original: tuple[int, int] | None,
) -> Target:
    images = model.normalize(batch)
    height, width = (int(side) for side in batch.sizes[0])
    kind, *rest = text.split(":") if text not in names else [text]
    if text in names or kind != "pixel":
        label = None if text == AUTO else class_index(names, text, SYNTAX[Segmenter])
        return segment_target(model, images, (height, width), names, label)
    if len(rest) < 2 or not all(word.isdecimal() for word in rest[:2]):
        raise ConfigError(f"target={text}: a pixel is pixel:X:Y, whole numbers counted from the left and the top.")
    x, y = int(rest[0]), int(rest[1])
    rows, columns = original or (height, width)
    if x >= columns or y >= rows:
        raise ConfigError(f"target={text} lies outside of the picture, which has {columns} x {rows} pixels.")
    label = class_index(names, ":".join(rest[2:]), SYNTAX[Segmenter]) if len(rest) > 2 else None
    return pixel_target(model, images, x * width // columns, y * height // rows, names, label, (x, y))


def class_index(names: Sequence[str], text: str, syntax: str = "a class", key: str = "target") -> int:
    """The position of a class. ConfigError names the nearest classes, and what else is understood for this key."""
    for wanted, known in ((text, names), (text.casefold(), [name.casefold() for name in names])):
        if wanted in known:
            return list(known).index(wanted)
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    near += [name for name in names if text.casefold() in name.casefold() and name not in near][: 3 - len(near)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"classes are {some_of(names)}."
    raise ConfigError(f"{key}={text} is no class of this model ({syntax}); {hint}")


def _rank_and_edge(text: str, words: list[str]) -> tuple[int, str | None]:
    """`["2", "x1"]` -> (2, "x1"); both may be missing."""
    rank = words[0] if words else "0"
    edge = words[1] if len(words) > 1 else None
    if not rank.isdecimal() or len(words) > 2 or edge not in (None, *EDGES):
        raise ConfigError(f"target={text} is not understood; {SYNTAX[RegionDetector]} are.")
    return int(rank), edge


def _found(traced: Traced, names: tuple[str, ...]) -> str:
    tally = Tally(names[label] for label in traced.found.labels.tolist())
    return "it found " + (", ".join(f"{count} {name}" for name, count in tally.most_common(5)) or "nothing")


def _kinds() -> str:
    return "classifiers, localizers, detectors of regions, segmenters and counters"


def model_images(model: Any, batch: Batch) -> Tensor:
    """The batch as the network sees it, (B, C, H, W) float."""
    images: Tensor = getattr(model, "encode", model).normalize(batch)
    return images

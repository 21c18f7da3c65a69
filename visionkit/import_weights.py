"""Other people's detectors and segmenters as checkpoints of this kit: tools/import_weights.py without its arguments."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visionkit.assemble import Model, build_model
from visionkit.backbones.recognise import recognise
from visionkit.backbones.weights_file import find_weights, read_weights
from visionkit.config import compose, to_plain
from visionkit.data.class_names import read_names
from visionkit.data.coco_names import coco_names, coco_numbers
from visionkit.data.voc_names import VOC_NAMES
from visionkit.engine import checkpoint
from visionkit.errors import ConfigError
from visionkit.models.import_detectron2 import from_detectron2, is_detectron2
from visionkit.models.import_segmenter import is_torchvision_fcn, segmenter_from_torchvision
from visionkit.models.import_torchvision import from_torchvision, is_torchvision
from visionkit.models.imported import EPS, Imported

SEGMENTERS = ("dilated_fcn",)  # tasks whose usual data are VOC's label maps
KINDS = ("auto", "torchvision", "detectron2")
OWN = ("encode.normalize.", "normalize.", "class_weights")  # buffers that no file has
FORMS = ("msra", "torchvision")
# torchvision's COCO_V1 of Faster and Mask R-CNN, by the start of their SHA-256: trained when frozen norms had no eps.
WITHOUT_EPS = ("258fb6c6", "bf2d0c1e")


def import_weights(
    file: str,
    output: str,
    kind: str = "auto",
    form: str = "msra",
    names: str | Sequence[str] | None = None,
    data: str | None = None,
    frozen_eps: float | None = None,
) -> list[str]:
    """Reads a file of torchvision's or detectron2's and writes a checkpoint that `visionkit.load` takes.

    Args: as the keys of configs/import_weights.yaml.

    Returns what a person should know, in sentences.
    Raises:
        ConfigError: a setting that is not one of those there are; a file that is broken, of another model, or without
            class names; the sentence says what was found.
    """
    for key, value, known in (("kind", kind, KINDS), ("form", form, FORMS)):
        if value not in known:
            raise ConfigError(f"{key}={value}: it is one of {', '.join(known)}.")
    if frozen_eps is not None and not (isinstance(frozen_eps, int | float) and 0 <= frozen_eps < 1):
        raise ConfigError(f"frozen_eps={frozen_eps}: it is null or a number from 0 to 1.")
    path = find_weights(file)
    state = read_weights(path)
    try:
        found = _converted(path, state, kind, form, frozen_eps)
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be imported: {error}{_owner(state, path)}.") from None
    classes = _names(names, found, path)
    data = data or ("voc12_segmentation" if found.task in SEGMENTERS else "coco")
    settings = [f"{key}={_word(value)}" for key, value in found.settings.items()]
    config = compose("train", [f"task={found.task}", f"backbone={found.backbone}", f"data={data}", *settings])
    assert config is not None
    model = build_model(config, len(classes), pretrained=False)
    _load(model, found.weights, path)
    meta = {"config": to_plain(config), "names": list(classes)}
    checkpoint.save(Path(output), {"model": model.state_dict(), "average": None, "meta": meta})
    unused = sum(name.startswith("unused ") for name in classes)
    listed = f"{len(classes)} classes" + (f", {unused} of them unused numbers of COCO" if unused else "")
    count = sum(p.numel() for p in model.parameters())
    return [*found.notes, f"{len(found.weights)} tensors, {count:,} parameters, {listed}"]


def _converted(path: Path, state: Mapping[str, Tensor], kind: str, form: str, eps: float | None) -> Imported:
    if kind == "auto":
        torchvisions = is_torchvision(state) or is_torchvision_fcn(state)
        kinds = {"torchvision": torchvisions, "detectron2": is_detectron2(state)}
        known = [name for name, holds in kinds.items() if holds]
        if not known:
            known_ones = "it is no Faster or Mask R-CNN of torchvision or detectron2, and no FCN of torchvision"
            raise ConfigError(f"{known_ones}: it has {_some(state)}")
        kind = known[0]
    elif is_detectron2(state) and kind != "detectron2" or is_torchvision(state) and kind != "torchvision":
        raise ConfigError(f"its keys are not those of kind={kind}: leave kind out")
    if kind == "detectron2":
        if eps is not None:
            raise ConfigError("frozen_eps is for files of torchvision")
        return from_detectron2(state, "msra" if form == "msra" else "torchvision")
    if form != "msra":
        raise ConfigError(f"form={form} is for files of detectron2")
    if is_torchvision_fcn(state):
        if eps is not None:
            raise ConfigError("frozen_eps is for detectors")
        return segmenter_from_torchvision(state)
    if eps is None:
        eps = 0.0 if _digest(path).startswith(WITHOUT_EPS) else EPS
    return from_torchvision(state, eps)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(names: str | Sequence[str] | None, found: Imported, path: Path) -> tuple[str, ...]:
    """As many class names as the model has classes; COCO's, or VOC's for a segmenter, where none are given."""
    if names is None:
        usual = (VOC_NAMES,) if found.task in SEGMENTERS else (coco_names(), coco_numbers())
        for known in usual:
            if len(known) == found.num_classes:
                return known
        theirs = "VOC 21 with background" if found.task in SEGMENTERS else "COCO 80 (90 with its unused numbers)"
        raise ConfigError(
            f"{path} has {found.num_classes} classes, and {theirs}: name them in the order "
            "of their labels, names=[a,b,...] or names=FILE with one a line."
        )
    given = read_names(Path(names)) if isinstance(names, str) else tuple(str(name) for name in names)
    if len(given) != found.num_classes or len(set(given)) != len(given):
        raise ConfigError(f"{path} has {found.num_classes} classes, and names={names} are {len(set(given))} names.")
    return given


def _load(model: Model, weights: Mapping[str, Tensor], path: Path) -> None:
    """Every parameter and buffer from the file, but those of `OWN`; nothing may be left over."""
    wanted = {key: value for key, value in model.state_dict().items() if not key.startswith(OWN)}
    missing = [key for key in wanted if key not in weights]
    extra = [key for key in weights if key not in wanted]
    if missing or extra:
        words = f"it lacks {_some(missing)}" if missing else f"it has {_some(extra)} too many"
        raise ConfigError(f"{path} cannot be imported: {words} (by the names that they have here).")
    for key, value in wanted.items():
        if weights[key].shape != value.shape:
            theirs, ours = tuple(weights[key].shape), tuple(value.shape)
            raise ConfigError(f"{path} cannot be imported: its {key} has shape {theirs}, wanted is {ours}.")
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(weights[key])
    broken = [key for key, value in wanted.items() if not value.isfinite().all()]
    if broken:
        raise ConfigError(f"{path} cannot be imported: numbers of {_some(broken)} are not finite.")


def _owner(state: Mapping[str, Tensor], path: Path) -> str:
    """The end of a sentence that refuses a file: what it is, where that can be told."""
    if any(key.startswith("encode.backbone.") for key in state):
        return "; it is a checkpoint of this kit already"
    if is_torchvision(state) or is_detectron2(state):
        return ""
    name = recognise(state, path)
    return f"; it fits {name}, a classifier: give it as backbone.weights" if name else ""


def _some(keys: Mapping[str, Any] | Sequence[str], count: int = 2) -> str:
    keys = list(keys)
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more


def _word(value: Any) -> str:
    """A value in the grammar of the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")

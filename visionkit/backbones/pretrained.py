"""Loading published or own weights into a backbone: everything it has is found with its shape, or nothing is loaded."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.backbones.weights_file import fetch_weights, find_weights, read_weights
from visionkit.errors import ConfigError

log = logging.getLogger(__name__)

COUNTER = "num_batches_tracked"  # of batch norms; old files and frozen norms are without it, and nothing depends on it

B = TypeVar("B", bound=Backbone)


@dataclass(frozen=True)
class LoadReport:
    """What became of every key. `str(report)` is one line."""

    source: Path
    loaded: tuple[str, ...]  # keys copied into the network, as the file has them (after `renamed_keys`)
    classifier: tuple[str, ...]  # keys copied into the classifier
    unused: tuple[str, ...]  # keys of the file for parts that are not there: a classifier, a dropped tail

    def __str__(self) -> str:
        line = f"{self.source}: {len(self.loaded)} tensors loaded"
        if self.classifier:
            line += f", {len(self.classifier)} into the classifier"
        if self.unused:
            line += f", {len(self.unused)} unused ({_some(self.unused)})"
        return line


def load_weights(
    backbone: Backbone,
    source: str | Path,
    classifier: nn.Module | None = None,
    aux_classifiers: nn.ModuleDict | None = None,
) -> LoadReport:
    """Load a classification network's weights into a backbone, or into the body of a neck.

    Args:
        backbone: every parameter and buffer of it (of a neck: of its body) must be in the file, with the same shape;
            values are converted to its dtype and device.
        source: "imagenet" for the published file, else a .pth, .pt, .th or .safetensors file, looked up as given and
            then under the folder VISIONKIT_WEIGHTS. Tensors may lie under "state_dict" or "model", and every key may
            begin with "module.".
        classifier: what `backbone.new_classifier(...)` gave, loaded as strictly from the file's classifier keys.
            Without it those keys are reported as unused, as are those of a tail that a neck dropped. No other key may
            be left.
        aux_classifiers: what `backbone.new_aux_classifiers(...)` gave, likewise.

    Raises:
        ConfigError: no such file, a broken one, or one that does not fit. Nothing has been changed then.
    """
    network = backbone.innermost()
    if source == "imagenet":
        if not network.weights_url:
            raise ConfigError(f"no ImageNet weights are published for this {type(network).__name__}")
        path = fetch_weights(network.weights_url)
    else:
        path = find_weights(source)
    published = read_weights(path)
    tensors, outside = _inside(published, network)
    tensors = renamed(tensors, network)

    wanted = dict(network.state_dict(keep_vars=True))
    heads: dict[str, Tensor] = {}
    for head, names in ((classifier, network.classifier_keys), (aux_classifiers, network.aux_keys)):
        own = {} if head is None else head.state_dict(keep_vars=True)
        for theirs, ours in names.items():
            heads |= {theirs + key.removeprefix(ours): own[key] for key in own if key.startswith(ours)}
    try:
        _require_fit(path, tensors, wanted, type(network).__name__)
    except ConfigError as error:
        raise ConfigError(f"{error}{_owner(published, path)}") from None
    _require_fit(path, tensors, heads, "classifier")
    known = (*network.classifier_keys, *network.aux_keys, *network.dropped_keys)
    left = [key for key in tensors if key not in wanted and key not in heads and not key.endswith(COUNTER)]
    unexpected = [key for key in left if not key.startswith(known)]
    if unexpected:
        raise ConfigError(
            f"{path} does not fit: this {type(network).__name__} has no {_some(unexpected)}{_owner(published, path)}"
        )

    _copy(tensors, wanted)
    _copy(tensors, heads)
    report = LoadReport(
        source=path,
        loaded=tuple(key for key in wanted if key in tensors),
        classifier=tuple(key for key in heads if key in tensors),
        unused=(*left, *outside),
    )
    log.info("%s", report)
    return report


def initialise(backbone: B, weights: str | Path | None) -> B:
    """Load `weights` if there are any, the report into `backbone.load_report`; the last line of every builder."""
    if weights is not None:
        backbone.load_report = load_weights(backbone, weights)
    return backbone


def _inside(tensors: Mapping[str, Tensor], network: Backbone) -> tuple[Mapping[str, Tensor], list[str]]:
    """The tensors of the network inside of a model of the kit (a checkpoint of tools/train.py, whose keys begin with
    "backbone." or "encode.backbone.body."), without that prefix; and the keys of the rest. Other files as they are."""
    wanted = [key for key in network.state_dict() if not key.endswith(COUNTER)]
    for key in tensors:
        prefix = key.removesuffix(wanted[0])
        ours = prefix != key and prefix.endswith(("backbone.", "backbone.body."))
        if ours and all(prefix + name in tensors for name in wanted):
            inner = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            return inner, [name for name in tensors if not name.startswith(prefix)]
    return tensors, []


def renamed(tensors: Mapping[str, Tensor], network: Backbone) -> dict[str, Tensor]:
    """The tensors of a file under the names that the network has for them, as its `renamed_keys` say."""
    for old, new in network.renamed_keys:
        tensors = {re.sub(old, new, key): value for key, value in tensors.items()}
    return dict(tensors)


def _owner(tensors: Mapping[str, Tensor], path: Path) -> str:
    """The end of the sentence that refuses a file: the network of the line that it would fit."""
    from visionkit.backbones.recognise import recognise  # it knows all networks, and they know this module

    name = recognise(tensors, path)
    return f"; it fits {name}" if name else ""


def _require_fit(path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> None:
    missing = [key for key in wanted if key not in tensors and not key.endswith(COUNTER)]
    if wanted and not any(key in tensors for key in wanted):
        raise ConfigError(f"{path} holds nothing of this {name}: it has {_some(tensors)}, wanted are {_some(missing)}")
    if missing:
        raise ConfigError(f"{path} does not fit: this {name} needs {_some(missing)}, which it does not have")
    for key, value in wanted.items():
        if key in tensors and tensors[key].shape != value.shape:
            theirs, ours = tuple(tensors[key].shape), tuple(value.shape)
            raise ConfigError(f"{path} does not fit: its {key} has shape {theirs}, this {name}'s has {ours}")


@torch.no_grad()
def _copy(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for key, value in wanted.items():
        if key in tensors:
            value.copy_(tensors[key])


def _some(keys: Iterable[str], count: int = 2) -> str:
    """The first keys, and how many more."""
    keys = list(keys)
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more

"""Which network of the line a weights file belongs to, for the sentence that refuses it elsewhere."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

import visionkit.backbones
from visionkit.backbones.base import Backbone
from visionkit.backbones.pretrained import COUNTER, renamed


def recognise(tensors: Mapping[str, Tensor], path: Path) -> str | None:
    """The builder whose network has exactly its parameters among the tensors, with their shapes; None if none has.

    Networks whose name is part of the file's are tried first. Nothing is computed: the networks have no memory.
    """
    builders = sorted(_builders(), key=lambda item: (item[0] not in path.stem, -len(item[0])))
    for name, build in builders:
        network, wanted = _described(build)
        heads = (*network.classifier_keys, *network.aux_keys)
        own = renamed(tensors, network)
        rest = [key for key in own if key not in wanted and not key.endswith(COUNTER)]
        fits = all(key in own and own[key].shape == shape for key, shape in wanted.items())
        if fits and all(key.startswith(heads) for key in rest):
            return name
    return None


@functools.cache
def _described(build: Callable[[], Backbone]) -> tuple[Backbone, dict[str, torch.Size]]:
    """The network without memory, and the shapes of its parameters and buffers."""
    with torch.device("meta"):
        network = build()
    return network, {key: value.shape for key, value in network.state_dict().items() if not key.endswith(COUNTER)}


def _builders() -> Iterator[tuple[str, Callable[[], Backbone]]]:
    """Every public function of this package that gives a network without being told anything, with its name."""
    for module in pkgutil.iter_modules(visionkit.backbones.__path__):
        loaded = importlib.import_module(f"visionkit.backbones.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            if function.__module__ != loaded.__name__ or name.startswith("_"):
                continue
            signature = inspect.signature(function)
            made = signature.return_annotation
            silent = all(p.default is not p.empty for p in signature.parameters.values())
            if silent and inspect.isclass(made) and issubclass(made, Backbone):
                yield name, function

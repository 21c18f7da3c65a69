"""A trained detector with thin fully connected layers, as a checkpoint of its own (Fast R-CNN, sec. 3.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionkit.engine import checkpoint
from visionkit.errors import ConfigError
from visionkit.models.cascade import CascadeDetector
from visionkit.models.compress import linear_layers, low_rank
from visionkit.models.encode import Pool
from visionkit.models.region_detector import RegionDetector
from visionkit.predictor import Predictor, load

PARTS = (4, 16)  # fc6 keeps a quarter of its outputs as rank, fc7 a sixteenth: 1024 and 256 of VGG16's 4096


def compress(path: str | Path, ranks: Sequence[int] | None, output: Path) -> list[str]:
    """Writes the checkpoint `output`: the model of `path` with its fully connected layers as two thin ones each.

    Args:
        ranks: one for each layer; None takes a quarter of the first's outputs and a sixteenth of the others'.
    Returns:
        What became of each layer, in sentences.
    Raises:
        ConfigError: the checkpoint is no detector's, has no fully connected layers, or is compressed already.
    """
    predictor = load(path)
    model = predictor.model
    if not isinstance(model, RegionDetector) or not isinstance(model.encode, Pool):
        raise ConfigError(f"{path} is not a checkpoint of Fast or Faster R-CNN, whose regions share those layers.")
    if isinstance(model, CascadeDetector):
        raise ConfigError(f"{path} is a cascade, whose stages have layers of their own: these are not compressed.")
    if (known := predictor.config["task"].get("ranks")) is not None:
        raise ConfigError(f"{path} is compressed already, with ranks {known}.")
    if output.resolve() == Path(path).resolve():
        raise ConfigError(f"output={output} is the checkpoint itself, which stays as it is: choose another name.")
    names = linear_layers(model.backbone)
    layers: list[Any] = [model.backbone.get_submodule(name) for name in names]
    if ranks is None:
        ranks = [max(1, layer.out_features // (PARTS[0] if i == 0 else PARTS[1])) for i, layer in enumerate(layers)]
    before = [layer.weight.detach() for layer in layers]
    low_rank(model.backbone, ranks, fit=True)
    told = [
        _told(name, weight, model.backbone.get_submodule(name), rank)
        for name, weight, rank in zip(names, before, ranks, strict=True)
    ]
    _save(predictor, list(ranks), path, output)
    load(output)  # what was written can be read
    return told


def _told(name: str, weight: torch.Tensor, layer: nn.Module, rank: int) -> str:
    left = (layer.second.weight @ layer.first.weight).detach().double()  # type: ignore[operator, union-attr]
    lost = float(((left - weight.double()) ** 2).sum() / (weight.double() ** 2).sum())
    count = sum(p.numel() for p in layer.parameters())
    return (
        f"{name}: {weight.shape[0]} x {weight.shape[1]} through {rank} values, {weight.numel():,} weights to "
        f"{count:,}; "
        f"{1 - lost:.1%} of their squares are kept"
    )


def _save(predictor: Predictor, ranks: list[int], path: str | Path, output: Path) -> None:
    state = checkpoint.load(Path(path))
    task = {**predictor.config["task"], "ranks": ranks}
    meta = {**state["meta"], "config": {**predictor.config, "task": task}}
    checkpoint.save(output, {"model": predictor.model.state_dict(), "average": None, "meta": meta})

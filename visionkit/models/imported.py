"""A detector out of somebody else's file: its weights under our names, and the settings that go with them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from visionkit.errors import ConfigError

EPS = 1e-5  # that our frozen batch norms add to the variance

BLOCKS_OF_C4 = {6: 50, 23: 101, 36: 152}  # in the third group of a ResNet with bottlenecks


@dataclass(frozen=True)
class Imported:
    """Attributes:
    weights: by the keys of a `RegionDetector`, all but the mean and std of the pixels, which the backbone gives.
    num_classes: K.
    task, backbone: names of configurations.
    settings: what else the configuration needs, by dotted key ("task.sampling": 0).
    notes: what a person should know, a sentence each.
    """

    weights: dict[str, Tensor]
    num_classes: int
    task: str
    backbone: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def renamed(state: Mapping[str, Tensor], table: Iterable[tuple[str, str]], origin: str) -> dict[str, Tensor]:
    """Every key by the first pattern of the table that it begins with.

    Raises:
        ConfigError: keys that no pattern knows.
    """
    ours, unknown = {}, []
    for key, value in state.items():
        for pattern, replacement in table:
            name, count = re.subn(pattern, replacement, key)
            if count:
                ours[name] = value
                break
        else:
            unknown.append(key)
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ConfigError(f"no Faster or Mask R-CNN of {origin} that is known here has {unknown[0]}{more}")
    return ours


def depth_of(state: Mapping[str, Tensor], group: str) -> int:
    """The ResNet's depth by the number of blocks in its third group, whose keys begin with `group`."""
    blocks = {key.removeprefix(group).partition(".")[0] for key in state if key.startswith(group)}
    if len(blocks) not in BLOCKS_OF_C4:
        raise ConfigError(f"its body is no ResNet-50, 101 or 152: {len(blocks)} blocks are called {group}N")
    return BLOCKS_OF_C4[len(blocks)]


def with_eps(weights: Mapping[str, Tensor], prefix: str, eps: float) -> dict[str, Tensor]:
    """Variances of norms that were used with another epsilon than ours, changed so that the sums are the same."""
    if eps == EPS:
        return dict(weights)
    wide = torch.float64  # a difference of small numbers
    return {
        key: (value.to(wide) + (eps - EPS)).to(value.dtype) if key.startswith(prefix) and is_variance(key) else value
        for key, value in weights.items()
    }


def is_variance(key: str) -> bool:
    return key.endswith(".running_var")

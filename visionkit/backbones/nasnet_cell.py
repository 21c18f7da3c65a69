"""Cells as data (Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017, sec. 3).

A cell takes the maps of the two cells before it. Each of its blocks applies one operation to one map, another to
another, and adds the results; the maps are the two inputs and the sums of earlier blocks. The cell's output is some of
these maps, concatenated. A search over architectures chooses the operations and the maps: a `CellPlan`.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Stage
from visionkit.backbones.drop_path import DropPath
from visionkit.backbones.norms import norm_layer
from visionkit.errors import ConfigError

PREVIOUS, CURRENT = 0, 1  # a cell's inputs: the output of the cell before the last, and that of the last

Operation = Callable[[int, int, int, str], nn.Module]  # channels, channels out, stride, norm -> module


def convolution(size: int, channels: int, out: int, stride: int, norm: str) -> nn.Sequential:
    """ReLU, convolution, norm."""
    layers: dict[str, nn.Module] = {
        "relu": nn.ReLU(),
        "conv": nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, bias=norm == "none"),
        "norm": norm_layer(norm)(out),
    }
    return nn.Sequential(OrderedDict(layers))


def separable(size: int, channels: int, out: int, stride: int, norm: str) -> nn.Sequential:
    """ReLU, depthwise, 1x1, norm, and the same again (appendix A); the first one has the stride."""
    layers: dict[str, nn.Module] = {}
    for i, (inner, step) in enumerate(((channels, stride), (out, 1)), start=1):
        layers[f"relu{i}"] = nn.ReLU(inplace=i == 2)  # other operations use the first one's input too
        layers[f"depthwise{i}"] = nn.Conv2d(inner, inner, size, step, size // 2, groups=inner, bias=False)
        layers[f"pointwise{i}"] = nn.Conv2d(inner, out, 1, bias=norm == "none")
        layers[f"norm{i}"] = norm_layer(norm)(out)
    return nn.Sequential(OrderedDict(layers))


def pooling(kind: Callable[..., nn.Module], channels: int, out: int, stride: int, norm: str) -> nn.Sequential:
    """3x3 pool, and a 1x1 convolution where the channels change."""
    layers = [] if channels == out else [convolution(1, channels, out, 1, norm)]
    return nn.Sequential(kind(3, stride=stride, padding=1), *layers)


def identity(channels: int, out: int, stride: int, norm: str) -> nn.Module:
    """The map itself, or a 1x1 convolution where the shape changes."""
    return nn.Identity() if (channels, stride) == (out, 1) else convolution(1, channels, out, stride, norm)


OPERATIONS: dict[str, Operation] = {
    "identity": identity,
    "avg3": partial(pooling, partial(nn.AvgPool2d, count_include_pad=False)),
    "max3": partial(pooling, nn.MaxPool2d),
    "conv1": partial(convolution, 1),
    "conv3": partial(convolution, 3),
    "sep3": partial(separable, 3),
    "sep5": partial(separable, 5),
    "sep7": partial(separable, 7),
}

Branch = tuple[str, int]  # an operation, and the map it is applied to


@dataclass(frozen=True)
class CellPlan:
    """What a cell computes. Maps are counted from 0: `PREVIOUS`, `CURRENT`, then the sum of each block.

    Raises ConfigError for an unknown operation, a map that is not there, or a sum that nothing uses.
    """

    blocks: tuple[tuple[Branch, Branch], ...]
    output: tuple[int, ...]  # the maps that are concatenated

    def __post_init__(self) -> None:
        for number, block in enumerate(self.blocks, start=2):
            for operation, source in block:
                if operation not in OPERATIONS:
                    raise ConfigError(f"a cell's operations are {', '.join(OPERATIONS)}, not {operation!r}")
                if not 0 <= source < number:
                    raise ConfigError(f"map {number} of a cell is made of maps 0 to {number - 1}, not of {source}")
        last = len(self.blocks) + 1
        if not self.output or not all(0 <= source <= last for source in self.output):
            raise ConfigError(f"a cell's output is one or more of its maps 0 to {last}, not {self.output}")
        if idle := set(range(2, last + 1)) - self.used:
            raise ConfigError(f"map {min(idle)} of a cell is in no block and not in its output: {self.output}")

    @property
    def used(self) -> set[int]:
        """The maps that a block or the output takes."""
        return {source for block in self.blocks for _, source in block} | set(self.output)


class HalvedMap(nn.Module):
    """ReLU, then half the side without losing a position: 1x1 convolutions on the even and on the odd cells, and norm.

    Brings the map of a cell before a reduction to the size after it.
    """

    def __init__(self, channels: int, out: int, norm: str) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(channels, out // 2, 1, stride=2, bias=norm == "none")
        self.odd = nn.Conv2d(channels, out - out // 2, 1, stride=2, bias=norm == "none")
        self.norm = norm_layer(norm)(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        shifted = F.pad(x, (-1, 1, -1, 1))  # row 1 and column 1 come first, zeros last: the size stays
        return self.norm(torch.cat((self.even(x), self.odd(shifted)), dim=1))  # (B, out, ceil(h / 2), ceil(w / 2))


class Cell(nn.Module):
    """The modules of a plan.

    Args:
        plan: what it computes.
        previous: the map of the cell before the last; None where there is no such cell, which then is the last one's
            map as it is.
        current: the map of the last cell.
        filters: channels of every block; both inputs are brought to them first.
        stride: 2 in a reduction cell, of the operations on the two inputs.
        norm: "batch", "frozen", "group" or "none", used everywhere.
        drop_path: probability with which an operation's result is left out in training (identities stay).

    Attributes:
        stage: its output.
    """

    def __init__(
        self,
        plan: CellPlan,
        previous: Stage | None,
        current: Stage,
        filters: int,
        stride: int,
        norm: str,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if stride > 1 and min(plan.output) < 2:
            raise ConfigError(f"a cell with stride {stride} cannot put out its inputs, which are larger: {plan.output}")
        self.plan = plan
        self.squeeze_previous: nn.Module = nn.Identity()
        self.squeeze_current: nn.Module = nn.Identity()
        if CURRENT in plan.used:
            self.squeeze_current = convolution(1, current.channels, filters, 1, norm)
        if PREVIOUS in plan.used and previous is not None:
            halves = previous.stride < current.stride
            squeeze = HalvedMap if halves else partial(convolution, 1, stride=1)
            self.squeeze_previous = squeeze(previous.channels, filters, norm=norm)
        channels = [filters] * (len(plan.blocks) + 2)
        if previous is None:
            channels[PREVIOUS] = current.channels
        self.left, self.right = (
            nn.ModuleList(
                _operation(name, channels[source], filters, stride if source < 2 else 1, norm, drop_path)
                for name, source in branches
            )
            for branches in zip(*plan.blocks, strict=True)
        )
        self.stage = Stage(sum(channels[source] for source in plan.output), current.stride * stride)

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Maps of the last two cells -> (B, channels, ceil(h / stride), ceil(w / stride))."""
        maps = [self.squeeze_previous(previous), self.squeeze_current(current)]  # (B, filters, h, w) each
        for ((_, a), (_, b)), left, right in zip(self.plan.blocks, self.left, self.right, strict=True):
            maps.append(left(maps[a]) + right(maps[b]))
        return torch.cat([maps[source] for source in self.plan.output], dim=1)


def _operation(name: str, channels: int, out: int, stride: int, norm: str, drop_path: float) -> nn.Module:
    operation = OPERATIONS[name](channels, out, stride, norm)
    if drop_path and isinstance(operation, nn.Sequential):
        operation.append(DropPath(drop_path))
    return operation

"""Layers deleted from a trained network, without training it again (Veit, Wilber and Belongie 2016, "Residual networks
behave like ensembles of relatively shallow networks", sec. 4).

A residual block without its branch is its shortcut, and of n blocks' 2^n paths the half that do not go through it are
left. A layer of a sequential network is on every path. Nothing of a model is changed: while it is deleted, a layer's
output is replaced.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from visionkit.backbones.cifar_resnet import CifarBlock
from visionkit.backbones.efficientnet import MBConv
from visionkit.backbones.mobilenet_v2 import InvertedResidual
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.preact_resnet import PreactBlock, PreactBottleneck
from visionkit.backbones.resnet_blocks import BasicBlock, Bottleneck
from visionkit.backbones.shufflenet_v1 import ShuffleUnit
from visionkit.errors import ConfigError

NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d, nn.GroupNorm)


class Part(NamedTuple):
    """Something that can be deleted.

    Attributes:
        path: of the block, or of the convolution, in the model.
        zeroed: paths of the modules whose output becomes zero: what ends a block's branch.
        skipped: paths of the modules whose output becomes their input: a convolution and the norm behind it.
        keeps_shape: whether what is left is the input as it is. A block that changes the shape is left as its shortcut,
            a projection or a subsampling.
    """

    path: str
    zeroed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    keeps_shape: bool = True


def residual_blocks(model: nn.Module) -> list[Part]:
    """Every residual block of the kit's networks, in the order of execution; none in a sequential network."""
    found = []
    for path, module in model.named_modules():
        if (branch := _branch_end(module)) is not None:
            found.append(Part(path, zeroed=(f"{path}.{branch}",), keeps_shape=_keeps_shape(module)))
    return found


def sequential_layers(model: nn.Module) -> list[Part]:
    """Every convolution outside of residual blocks that gives as many channels and cells as it is given, with the norm
    behind it, in the order of execution; activations stay."""
    inside = [f"{part.path}." for part in residual_blocks(model)]
    found = []
    for path, module in model.named_modules():
        children = list(module.named_children())
        for k, (name, child) in enumerate(children):
            own = f"{path}.{name}" if path else name
            if not isinstance(child, nn.Conv2d) or not _keeps_maps(child) or own.startswith(tuple(inside)):
                continue
            norm = children[k + 1] if k + 1 < len(children) and isinstance(children[k + 1][1], NORMS) else None
            skipped = (own,) if norm is None else (own, f"{path}.{norm[0]}" if path else norm[0])
            found.append(Part(own, skipped=skipped))
    return found


def deletable(model: nn.Module) -> list[Part]:
    """The residual blocks, or in a network without any its sequential layers. ConfigError: neither."""
    found = residual_blocks(model) or sequential_layers(model)
    if not found:
        name = type(getattr(model, "backbone", model)).__name__
        raise ConfigError(
            f"{name} has no residual block and no convolution that keeps the shape of its maps: nothing can be deleted."
        )
    return found


@contextmanager
def deleted(model: nn.Module, parts: Sequence[Part]) -> Iterator[None]:
    """Within, the model runs without these parts. It is as before afterwards, also after an error."""
    hooks: list[Any] = []
    try:
        for part in parts:
            hooks += [model.get_submodule(path).register_forward_hook(_zeros) for path in part.zeroed]
            hooks += [model.get_submodule(path).register_forward_hook(_input) for path in part.skipped]
        yield
    finally:
        for hook in hooks:
            hook.remove()


def random_groups(count: int, sizes: Sequence[int], draws: int, seed: int) -> list[tuple[int, ...]]:
    """For each size `draws` groups of so many of `count` parts, as positions in ascending order; none for sizes above
    `count`."""
    chance = torch.Generator().manual_seed(seed)
    return [
        tuple(sorted(torch.randperm(count, generator=chance)[:size].tolist()))
        for size in sizes
        if size <= count
        for _ in range(draws)
    ]


def _branch_end(module: nn.Module) -> str | None:
    """The name of what a block's branch goes through last, before the shortcut is added; None for other modules."""
    if isinstance(module, BasicBlock | Bottleneck | PreactBlock | PreactBottleneck):
        return "drop_path"
    if isinstance(module, CifarBlock):
        return None if module.shortcut is None else "drop_path"
    if isinstance(module, MBConv):
        return "drop_path" if module.has_shortcut else None
    if isinstance(module, InvertedResidual):
        return "conv" if module.shortcut else None
    return "up" if isinstance(module, ShuffleUnit) and module.stride == 1 else None


def _keeps_shape(block: nn.Module) -> bool:
    """Whether a block's shortcut is the identity. The first block of a pre-activation network has one behind its
    ReLU, which keeps the shape."""
    shortcut = getattr(block, "downsample", None) or getattr(block, "shortcut", None)
    return not isinstance(shortcut, nn.Module) or isinstance(shortcut, nn.Identity)


def _keeps_maps(conv: nn.Conv2d) -> bool:
    if conv.in_channels != conv.out_channels or conv.stride != (1, 1) or conv.groups != 1:
        return False
    if isinstance(conv.padding, str):
        return conv.padding == "same"
    return all(2 * p == d * (k - 1) for p, d, k in zip(conv.padding, conv.dilation, conv.kernel_size, strict=True))


def _zeros(_module: nn.Module, _given: Any, out: Tensor) -> Tensor:
    return torch.zeros_like(out)


def _input(_module: nn.Module, given: tuple[Tensor, ...], _out: Tensor) -> Tensor:
    return given[0].clone()  # what follows may write over it

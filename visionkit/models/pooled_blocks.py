"""What decoders ask of a trunk: the blocks that a mirror mirrors, the maps that a U-Net joins, and no tail that goes
unused."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.errors import ConfigError


class Block(NamedTuple):
    """Convolutions of one stride, and the 2x2 max pool after them."""

    stage: str  # its last map, before the pool
    pooled: str  # the same after it
    channels: int
    depth: int  # convolutions


def pooled_blocks(backbone: Backbone) -> list[Block]:
    """The blocks of a trunk of convolutions that keep the size and 2x2 max pools, from the first to the last.

    Raises:
        ConfigError: another kind of trunk; the sentence says which ones there are.
    """
    found: list[Block] = []
    depth, before, mirrors = 0, "", backbone.innermost() is backbone
    parts = backbone.parts() if mirrors else {}
    for name, modules in parts.items():
        stage = backbone.stages[name]
        if len(modules) == 1 and _halves(modules[0]):
            mirrors &= depth > 0 and stage.stride == 2 * backbone.stages[before].stride == 2 << len(found)
            found.append(Block(before, name, stage.channels, depth))
            depth = 0
        else:
            depth += _count_convolutions(modules)
        before = name
    if not mirrors or depth or not found:
        raise ConfigError(
            f"backbone: {type(backbone).__name__} cannot be mirrored: unpooling wants a network whose blocks each end "
            "in a 2x2 max pool, which are vgg11 ... vgg19, the same with _bn, vgg16_c and vgg11_bn_narrow; for others "
            "there is task=unet."
        )
    return found


def joined_stages(backbone: Backbone) -> dict[str, Stage]:
    """The last map of each stride, from the deepest to the finest; of a pyramid its region maps. A map that was only
    pooled counts as the one before it.

    Raises:
        ConfigError: maps of one stride only.
    """
    names: Iterable[str] = backbone.region_stages
    if len(backbone.region_stages) == 1:
        parts = backbone.innermost().parts()
        names = [name for name in backbone.stages if not _only_pools(parts[name])]
    by_stride = {backbone.stages[name].stride: name for name in names}
    if len(by_stride) < 2:
        raise ConfigError(
            f"backbone: {type(backbone).__name__} has maps of one stride only, and a U-Net joins several: choose a "
            "network that gets coarser (resnet18, vgg11_bn)."
        )
    return {by_stride[stride]: backbone.stages[by_stride[stride]] for stride in sorted(by_stride, reverse=True)}


def drop_tail(backbone: Backbone, names: Iterable[str]) -> None:
    """Deletes what the named stages do not need, so that every parameter takes part in a step."""
    if backbone.innermost() is backbone:
        backbone.drop_tail(list(names))
    else:
        backbone.box_tail = nn.Identity()  # FPN and DC5 carry a tail of their own, around a trunk that has none


def _halves(module: nn.Module) -> bool:
    """Whether it is a max pool of 2 x 2 cells side by side."""
    return isinstance(module, nn.MaxPool2d) and (
        _pair(module.kernel_size) == _pair(module.stride) == (2, 2)
        and _pair(module.padding) == (0, 0)
        and _pair(module.dilation) == (1, 1)
        and not module.ceil_mode
    )


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _count_convolutions(modules: Iterable[nn.Module]) -> int:
    return sum(isinstance(layer, nn.Conv2d) for module in modules for layer in module.modules())


def _only_pools(modules: Iterable[nn.Module]) -> bool:
    """Whether they are layers without weights; not of an empty path, which is another name of the stage before."""
    modules = tuple(modules)
    return bool(modules) and not any(True for module in modules for _ in module.parameters())

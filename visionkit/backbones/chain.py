"""Running a trunk that is a chain of parts, no further than asked; fully connected layers over whole maps; a head."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.errors import ConfigError


def require_stages(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises KeyError naming the known stages when a name is not one of them."""
    known = tuple(known)
    for name in names:
        if name not in known:
            raise KeyError(f"no stage {name!r}; the stages are {', '.join(known)}")


def run_chain(parts: Mapping[str, Sequence[nn.Module]], images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Images (B, 3, H, W) through the parts up to the last stage asked for -> the named maps, in the order asked."""
    require_stages(names, parts)
    waiting, maps, x = set(names), {}, images
    for name, modules in parts.items():
        if not waiting:
            break
        for module in modules:
            x = module(x)
        if name in waiting:
            waiting.remove(name)
            maps[name] = x
    return {name: maps[name] for name in names}


def last_stage(names: Sequence[str], stages: Sequence[str]) -> int:
    """Position of the deepest named stage. Raises ConfigError when none is named or one is unknown."""
    unknown = [name for name in names if name not in stages]
    if unknown or not names:
        found = f"no stage {unknown[0]!r}" if unknown else "no stage named"
        raise ConfigError(f"{found}; the backbone's stages are {', '.join(stages)}")
    return max(stages.index(name) for name in names)


def linear_as_conv(linear: nn.Linear, maps: Tensor, window: int) -> Tensor:
    """A layer on flattened windows as a convolution: (B, C, h, w) -> (B, out, h - window + 1, w - window + 1).

    Equal to the layer on every window (FCN, sec. 3.1), and computed so: one matrix product takes the weights as they
    lie, where a convolution would reorder them at every call (411 MB for VGG-16's fc6).
    """
    windows = maps.unfold(2, window, 1).unfold(3, window, 1)  # (B, C, h', w', window, window), a view
    rows = windows.permute(0, 2, 3, 1, 4, 5).flatten(3)  # (B, h', w', C * window * window)
    return F.linear(rows, linear.weight, linear.bias).permute(0, 3, 1, 2)  # (B, out, h', w')


def linear_classifier(channels: int, num_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Mean over positions, dropout, one linear layer: maps (R, channels, h, w) -> logits (R, num_classes).

    The layer is called `linear`. A mean of class scores and the class scores of a mean are the same.
    """
    layers: dict[str, nn.Module] = {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(1)}
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(OrderedDict(layers, linear=nn.Linear(channels, num_classes)))

"""Finding what of a network is to be shown: its first convolution or a named one, the channels a picture excites."""

from torch import Tensor, nn

from visionkit.errors import ConfigError
from visionkit.explain.layers import TAIL, backbones_of, module_at


def convolution(model: nn.Module, layer: str | None = None) -> tuple[str, nn.Conv2d]:
    """A convolution with its path: the named one (or the one and only inside of what is named), or the network's first.

    Raises:
        ConfigError: no such layer, one that is or holds no single convolution, a network without any.
    """
    if layer is None:
        backbone = backbones_of(model)[-1]  # of a pyramid the network inside
        found = [(path, one) for path, one in backbone.named_modules() if isinstance(one, nn.Conv2d)]
        if not found:
            raise ConfigError(f"{type(backbone).__name__} has no convolution whose filters could be shown.")
        return found[0]
    if any(layer in backbone.stages for backbone in backbones_of(model)) or layer == TAIL:
        raise ConfigError(
            f"layer={layer} is no single convolution: name one by its path (tools/analyze.py lists them)."
        )
    path, module = module_at(model, layer)
    inside = [(path, one) for path, one in module.named_modules(prefix=path) if isinstance(one, nn.Conv2d)]
    if len(inside) != 1:
        raise ConfigError(f"layer={layer} holds {len(inside)} convolutions: name a single one.")
    return inside[0]


def strongest_channels(maps: Tensor, count: int) -> Tensor:
    """The channels of one picture's maps (C, h, w) with the highest values anywhere, the strongest first; among equals
    the lower number. (min(count, C),) int64."""
    peaks = maps.flatten(1).amax(dim=1)  # (C,)
    return peaks.sort(descending=True, stable=True).indices[:count]


def checked_channels(channels: list[int], total: int, layer: str) -> list[int]:
    """The same. ConfigError for a number that is none of the layer's channels."""
    for channel in channels:
        if isinstance(channel, bool) or not isinstance(channel, int) or not 0 <= channel < total:
            raise ConfigError(f"channel {channel}: layer={layer} has the channels 0 ... {total - 1}.")
    return channels

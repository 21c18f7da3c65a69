"""A network that sees more than colours: further channels beside those that its first layer was trained on."""

from typing import Any

from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError


class WiderConv2d(nn.Conv2d):
    """A convolution with further input channels, (B, C + extra, h, w) -> (B, C', h', w').

    Those begin with weights of zero, in a layer called `extra`. The others keep their names and values: weights of the
    network load as before, and on channels of zeros it gives what it gave.
    """

    def __init__(self, conv: nn.Conv2d, extra: int) -> None:
        shape: dict[str, Any] = {"kernel_size": conv.kernel_size, "stride": conv.stride, "padding": conv.padding}
        shape |= {"dilation": conv.dilation, "padding_mode": conv.padding_mode}
        super().__init__(conv.in_channels, conv.out_channels, **shape, bias=conv.bias is not None, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self.extra = nn.Conv2d(extra, conv.out_channels, **shape, bias=False)
        nn.init.zeros_(self.extra.weight)

    def forward(self, maps: Tensor) -> Tensor:
        known = self.in_channels
        return super().forward(maps[:, :known]) + self.extra(maps[:, known:])


def add_inputs(backbone: Backbone, extra: int) -> str:
    """Widens the first convolution by `extra` channels, in place; what it is called in the network.

    A stage up to which the network is frozen takes the new weights along.

    Raises:
        ConfigError: the network does not begin with a plain convolution of its colours.
    """
    found = next(((name, one) for name, one in backbone.named_modules() if isinstance(one, nn.Conv2d)), None)
    if found is None or type(found[1]) is not nn.Conv2d or found[1].in_channels != len(backbone.mean):
        raise ConfigError(
            f"{type(backbone).__name__} does not begin with a plain convolution of {len(backbone.mean)} channels, so "
            "it cannot be given further ones: choose another backbone (vgg11_bn, resnet18)."
        )
    name, conv = found
    parent, _, own = name.rpartition(".")
    setattr(backbone.get_submodule(parent), own, WiderConv2d(conv, extra))
    return name

"""Depthwise separable convolution (Howard et al., "MobileNets", 2017, sec. 3.1): filter each channel, then mix them.

A 3x3 convolution of C to C channels costs 9 C^2 H W multiply-adds, this one 9 C H W + C^2 H W.
"""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from visionkit.backbones.norms import norm_layer


def depthwise_separable(
    channels: int, out: int, stride: int = 1, norm: str = "batch", activation: Callable[..., nn.Module] = nn.ReLU6
) -> nn.Sequential:
    """3x3 on each channel by itself, then 1x1 across channels, a norm and an activation after both (fig. 3, right).

    Maps (B, channels, h, w) -> (B, out, ceil(h / stride), ceil(w / stride)). With norm "none" and `nn.Identity` as the
    activation it is one linear map: a convolution whose 3x3 kernels are outer products.
    """
    bias, make_norm = norm == "none", norm_layer(norm)
    layers: dict[str, nn.Module] = {
        "depthwise": nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=bias),
        "norm1": make_norm(channels),
        "activation1": activation(inplace=True),
        "pointwise": nn.Conv2d(channels, out, 1, bias=bias),
        "norm2": make_norm(out),
        "activation2": activation(inplace=True),
    }
    return nn.Sequential(OrderedDict(layers))

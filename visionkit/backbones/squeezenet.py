"""SqueezeNet (Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016).

A fire module squeezes its input with few 1x1 filters before it expands it with 1x1 and 3x3 ones (sec. 3.2). The end is
Network in Network's: a 1x1 convolution to the classes, then a mean. Keys are torchvision's: `features.N`, and
`classifier.1` for that convolution. Version 1.1 pools earlier and starts with 3x3, for 2.4 times less computation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.nin import conv_classifier
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))  # fire2 ... fire9


class Fire(nn.Module):
    """1x1 down to `squeeze` channels; from there 1x1 and 3x3 side by side up to `expand` channels each (fig. 1)."""

    def __init__(self, channels: int, squeeze: int, expand: int, norm: str) -> None:
        super().__init__()
        bias, make_norm = norm == "none", norm_layer(norm)
        self.squeeze = nn.Conv2d(channels, squeeze, 1, bias=bias)
        self.squeeze_norm = make_norm(squeeze)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1, bias=bias)
        self.expand1x1_norm = make_norm(expand)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1, bias=bias)
        self.expand3x3_norm = make_norm(expand)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze_norm(self.squeeze(x)))  # (B, squeeze, h, w)
        small = self.expand1x1_activation(self.expand1x1_norm(self.expand1x1(x)))
        large = self.expand3x3_activation(self.expand3x3_norm(self.expand3x3(x)))
        return torch.cat([small, large], dim=1)  # (B, 2 * expand, h, w)


class SqueezeNet(Backbone):
    """A convolution of stride 2 and eight fire modules, with three max pools between; the tail is only a mean.

    Stages c1 ... c4 (strides 2 ... 16) are the last maps before the pools, and the last of all.

    Args:
        first: channels and kernel size of the first convolution.
        groups: how many fire modules follow each of the three pools.
        min_size: the image side that leaves one cell after the pools.
        norm: "none" for the paper's network, else one after every convolution.
        dropout: before the classifier's convolution.
    """

    classifier_keys = {"classifier.1.": "conv."}
    dense_exact = True

    def __init__(
        self, first: tuple[int, int], groups: Sequence[int], min_size: int, norm: str = "none", dropout: float = 0.5
    ) -> None:
        super().__init__()
        channels, size = first
        make_norm = norm_layer(norm)
        layers: list[nn.Module] = [nn.Conv2d(3, channels, size, stride=2, bias=norm == "none")]
        if norm != "none":
            layers.append(make_norm(channels))
        layers.append(nn.ReLU(inplace=True))
        self.stages = {"c1": Stage(channels, 2)}
        self.paths = {"c1": tuple(f"features.{i}" for i in range(len(layers)))}
        fires = iter(FIRES)
        for level, count in enumerate(groups, start=2):
            start = len(layers)
            layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            for _ in range(count):
                squeeze, expand = next(fires)
                layers.append(Fire(channels, squeeze, expand, norm))
                channels = 2 * expand
            self.stages[f"c{level}"] = Stage(channels, 1 << level)
            self.paths[f"c{level}"] = tuple(f"features.{i}" for i in range(start, len(layers)))
        self.features = nn.Sequential(*layers)
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 13
        self.min_size = min_size
        self.out_channels = channels
        self.dropout = dropout
        self._initialise()

    def _initialise(self) -> None:
        """As torchvision: He's, uniform."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return windows  # (R, 512, h, w): only the mean is left

    def new_classifier(self, num_classes: int) -> nn.Module:
        return conv_classifier(self.out_channels, num_classes, self.dropout)


def _published(name: str, net: SqueezeNet, weights: str | None, norm: str) -> SqueezeNet:
    net.weights_url = imagenet.URLS[name] if norm == "none" else ""
    return initialise(net, weights)


def squeezenet1_0(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.0. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = SqueezeNet((96, 7), (3, 4, 1), 21, norm, dropout)
    return _published("squeezenet1_0", net, weights, norm)


def squeezenet1_1(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.1. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = SqueezeNet((64, 3), (2, 2, 4), 17, norm, dropout)
    return _published("squeezenet1_1", net, weights, norm)

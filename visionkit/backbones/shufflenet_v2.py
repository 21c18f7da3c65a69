"""ShuffleNet v2 (Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018): half of
the channels pass a unit untouched, and a shuffle mixes the halves.

Keys are torchvision's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.backbones.shufflenet_v1 import channel_shuffle
from visionkit.errors import ConfigError

UNITS = (4, 8, 4)  # of stages 2, 3, 4 (table 5)


def pointwise(channels: int, out: int, norm: str) -> tuple[nn.Module, ...]:
    """1x1 convolution, norm, ReLU."""
    return nn.Conv2d(channels, out, 1, bias=norm == "none"), norm_layer(norm)(out), nn.ReLU(inplace=True)


def depthwise(channels: int, stride: int, norm: str) -> tuple[nn.Module, ...]:
    """3x3 convolution of each channel, norm; no ReLU follows."""
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=norm == "none")
    return conv, norm_layer(norm)(channels)


class Unit(nn.Module):
    """Fig. 3(c): half of the channels as they are beside half convolved. At stride 2 (d) two branches convolve all."""

    def __init__(self, channels: int, out: int, stride: int, norm: str) -> None:
        super().__init__()
        half = out // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(*depthwise(channels, 2, norm), *pointwise(channels, half, norm))
        self.branch2 = nn.Sequential(
            *pointwise(channels if stride == 2 else half, half, norm),
            *depthwise(half, stride, norm),
            *pointwise(half, half, norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        y = torch.cat((self.branch1(left), self.branch2(right)), dim=1)  # (B, out, ceil(h / stride), ceil(w / stride))
        return channel_shuffle(y, 2)


class ShuffleNetV2(Backbone):
    """Stages c1 and c2 are the stem's convolution and max pool, c3 and c4 stages 2 and 3; stage 4 and conv5 the tail.

    Args:
        widths: channels of conv1, of stages 2, 3, 4, and of conv5 (the columns of table 5).
        norm: after every convolution; "none" gives them biases.
    """

    classifier_keys = {"fc.": "linear."}

    def __init__(self, widths: Sequence[int], norm: str = "batch") -> None:
        super().__init__()
        if len(widths) != 5 or any(width % 2 for width in widths[1:4]):
            raise ConfigError(
                f"widths must be five numbers, of conv1, stages 2 to 4 (even ones) and conv5, not {list(widths)}"
            )
        stem = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=norm == "none")
        self.conv1 = nn.Sequential(stem, norm_layer(norm)(widths[0]), nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(Unit(channels, out, 2, norm), *(Unit(out, out, 1, norm) for _ in range(count - 1)))
            for channels, out, count in zip(widths[:3], widths[1:4], UNITS, strict=True)
        )
        self.conv5 = nn.Sequential(*pointwise(widths[3], widths[4], norm))

        channels = (widths[0], widths[0], widths[1], widths[2], widths[4])
        self.stages = {f"c{i + 1}": Stage(width, 2 << i) for i, width in enumerate(channels)}
        self.paths = {"c1": ("conv1",), "c2": ("maxpool",), "c3": ("stage2",), "c4": ("stage3",)}
        self.paths["c5"] = ("stage4", "conv5")
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.out_channels = widths[4]
        self.dense_stride = 2

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.conv5(self.stage4(windows))  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def _published(name: str, widths: Sequence[int], weights: str | None, norm: str) -> ShuffleNetV2:
    net = ShuffleNetV2(widths, norm)
    net.weights_url = imagenet.URLS[name]
    return initialise(net, weights)


def shufflenet_v2_x0_5(weights: str | None = None, norm: str = "batch") -> ShuffleNetV2:
    """Half the width. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("shufflenet_v2_x0_5", (24, 48, 96, 192, 1024), weights, norm)


def shufflenet_v2_x1_0(weights: str | None = None, norm: str = "batch") -> ShuffleNetV2:
    """The width of the paper's main table. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("shufflenet_v2_x1_0", (24, 116, 232, 464, 1024), weights, norm)


def shufflenet_v2_x1_5(weights: str | None = None, norm: str = "batch") -> ShuffleNetV2:
    """One and a half times as wide. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("shufflenet_v2_x1_5", (24, 176, 352, 704, 1024), weights, norm)


def shufflenet_v2_x2_0(weights: str | None = None, norm: str = "batch") -> ShuffleNetV2:
    """Twice as wide. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("shufflenet_v2_x2_0", (24, 244, 488, 976, 2048), weights, norm)

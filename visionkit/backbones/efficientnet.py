"""EfficientNet (Tan and Le, "EfficientNet: Rethinking Model Scaling", 2019), cut at stride 16 for regions.

One small network of inverted residual blocks with squeeze and excitation, scaled up to eight sizes. Keys are
torchvision's: `features.2.0.block.1.0.weight`.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Literal, NamedTuple

from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.compound_scaling import EFFICIENTNET, scaled_depth, scaled_width
from visionkit.backbones.drop_path import drop_path as drop_path_layer
from visionkit.backbones.drop_path import linear_rule
from visionkit.backbones.norms import FrozenBatchNorm2d, norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.backbones.squeeze_excite import SqueezeExcite


class Group(NamedTuple):
    """Blocks of one width; the first has the stride."""

    expansion: int
    kernel: int
    stride: int
    out: int
    depth: int


GROUPS = (  # table 1, at width and depth 1
    Group(1, 3, 1, 16, 1),
    Group(6, 3, 2, 24, 2),
    Group(6, 5, 2, 40, 2),
    Group(6, 3, 2, 80, 3),
    Group(6, 5, 1, 112, 3),
    Group(6, 5, 2, 192, 4),
    Group(6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 4  # channels of the first convolution; the last one's, times those of the last group


def conv(
    channels: int, out: int, size: int, norm: str, stride: int = 1, groups: int = 1, active: bool = True
) -> nn.Sequential:
    """Convolution, norm, and SiLU where `active`."""
    bias = norm == "none"
    layers: list[nn.Module] = [
        nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, groups=groups, bias=bias),
        norm_layer(norm)(out),
    ]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if active else nn.Sequential(*layers)


class MBConv(nn.Module):
    """1x1 up to `expansion` times the channels, depthwise, squeeze and excitation, 1x1 down without activation;
    beside a shortcut where the shape stays (MobileNetV2's block, and the squeeze of MnasNet)."""

    def __init__(
        self, channels: int, out: int, expansion: int, kernel: int, stride: int, norm: str, drop_path: float
    ) -> None:
        super().__init__()
        inner = channels * expansion
        widen = [conv(channels, inner, 1, norm)] if expansion > 1 else []
        self.block = nn.Sequential(
            *widen,
            conv(inner, inner, kernel, norm, stride, groups=inner),
            SqueezeExcite(inner, max(1, channels // 4), nn.SiLU),
            conv(inner, out, 1, norm, active=False),
        )
        self.has_shortcut = stride == 1 and channels == out
        self.drop_path = drop_path_layer(drop_path if self.has_shortcut else 0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop_path(self.block(x))  # (B, out, h / stride, w / stride)
        return x + y if self.has_shortcut else y


def blocks_of(group: Group, channels: int, out: int, norm: str, drop_paths: Sequence[float]) -> nn.Sequential:
    """One block for each drop path; the first has the group's stride and changes the channels."""
    first, *others = drop_paths
    kind = (group.expansion, group.kernel)
    return nn.Sequential(
        MBConv(channels, out, *kind, group.stride, norm, first), *(MBConv(out, out, *kind, 1, norm, p) for p in others)
    )


class EfficientNet(Backbone):
    """Stem, seven groups of blocks, a 1x1 convolution. Groups 6 and 7 and the convolution are the tail.

    Args:
        width, depth: of the network, times those of B0.
        norm: "batch", "frozen", "group" or "none", used everywhere.
        dropout: before the classifier's linear layer.
        drop_path: rises from 0 at the first block towards this at the last.
    """

    classifier_keys = {"classifier.1.": "linear."}

    def __init__(
        self,
        width: float = 1.0,
        depth: float = 1.0,
        norm: str = "batch",
        dropout: float = 0.2,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        channels, stride = scaled_width(STEM, width), 2
        layers: list[nn.Module] = [conv(3, channels, 3, norm, stride=2)]
        self.stages, paths = {"c1": Stage(channels, 2)}, {"c1": ["features.0"]}
        depths = [scaled_depth(group.depth, depth) for group in GROUPS]
        rates = [0.0, *chain(*linear_rule(drop_path, depths))]  # as torchvision: one late, the first drops nothing
        for group, blocks in zip(GROUPS, depths, strict=True):
            out = scaled_width(group.out, width)
            layers.append(blocks_of(group, channels, out, norm, rates[:blocks]))
            rates = rates[blocks:]
            channels = out
            stride *= group.stride
            level = f"c{stride.bit_length() - 1}"
            self.stages[level] = Stage(channels, stride)
            paths.setdefault(level, []).append(f"features.{len(layers) - 1}")
        self.out_channels = HEAD * channels
        layers.append(conv(channels, self.out_channels, 1, norm))
        self.stages["c5"] = Stage(self.out_channels, 32)
        paths["c5"].append(f"features.{len(layers) - 1}")
        self.features = nn.Sequential(*layers)
        self.paths = {name: tuple(path) for name, path in paths.items()}
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.dense_stride = 2
        # Without norms fan in: the fan out of a depthwise convolution counts all channels, and the signal would vanish.
        self._initialise("fan_in" if norm == "none" else "fan_out")

    def _initialise(self, mode: Literal["fan_in", "fan_out"]) -> None:
        """As torchvision: He's for convolutions (fan out); norms keep their own start."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.through("c5", windows)  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        head = linear_classifier(self.out_channels, num_classes, self.dropout)
        bound = 1 / math.sqrt(num_classes)
        nn.init.uniform_(head.get_parameter("linear.weight"), -bound, bound)
        nn.init.zeros_(head.get_parameter("linear.bias"))
        return head


def _published(size: str, weights: str | None, norm: str, dropout: float, drop_path: float) -> EfficientNet:
    published = EFFICIENTNET[size]
    net = EfficientNet(published.width, published.depth, norm, dropout, drop_path)
    net.resolution = published.resolution
    if size in ("b5", "b6", "b7"):  # published with the authors' own settings of batch norm, the others with torch's
        for module in net.modules():
            if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
                module.eps = 1e-3
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.01
    net.weights_url = imagenet.URLS[f"efficientnet_{size}"]
    return initialise(net, weights)


def efficientnet_b0(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b0"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B0, for images of 224. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b0", weights, norm, dropout, drop_path)


def efficientnet_b1(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b1"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B1, for images of 240. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b1", weights, norm, dropout, drop_path)


def efficientnet_b2(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b2"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B2, for images of 260. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b2", weights, norm, dropout, drop_path)


def efficientnet_b3(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b3"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B3, for images of 300. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b3", weights, norm, dropout, drop_path)


def efficientnet_b4(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b4"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B4, for images of 380. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b4", weights, norm, dropout, drop_path)


def efficientnet_b5(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b5"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B5, for images of 456. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b5", weights, norm, dropout, drop_path)


def efficientnet_b6(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b6"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B6, for images of 528. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b6", weights, norm, dropout, drop_path)


def efficientnet_b7(
    weights: str | None = None, norm: str = "batch", dropout: float = EFFICIENTNET["b7"].dropout, drop_path: float = 0.2
) -> EfficientNet:
    """EfficientNet-B7, for images of 600. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("b7", weights, norm, dropout, drop_path)

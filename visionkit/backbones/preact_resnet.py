"""Pre-activation ResNet (He et al., "Identity Mappings in Deep Residual Networks", 2016) and wide ResNet (Zagoruyko and
Komodakis, "Wide Residual Networks", 2016).

Norm and ReLU stand before each convolution, so nothing stands on the shortcuts: a block adds to what it was given, and
any block's output reaches the end unchanged (He, eq. 4). Only where the shape changes the shortcut is a 1x1
convolution. There, and in the first block of all, it begins behind the block's first ReLU. One more norm and ReLU
follow the last block (He, appendix); they belong to the tail.

The CIFAR form has three groups with 16, 32 and 64 channels (a wide ResNet some times that, bottlenecks four times) at
strides 1, 2 and 4. The stride of a bottleneck sits in its 3x3 convolution.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.drop_path import drop_path, linear_rule
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.backbones.resnet_blocks import conv, he_normal_


def shortcut(channels: int, out: int, stride: int, norm: str, first: bool) -> nn.Module | None:
    """What leads from a block's activated input round its branch; None where the input as it is does."""
    if stride != 1 or channels != out:
        return conv(channels, out, 1, stride, norm == "none")
    return nn.Identity() if first else None


class PreactBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice (He et al. 2016, fig. 4e).

    Args:
        channels: of the input.
        width: of both convolutions, and so of the output.
        stride: of the first convolution.
        norm: "batch", "frozen", "group" or "none".
        first: whether the stem stands before it, and no block.
        rate: probability to drop the branch in training.
        dropout: before the second convolution (Zagoruyko and Komodakis 2016, fig. 1d).
    """

    expansion = 1

    def __init__(
        self, channels: int, width: int, stride: int, norm: str, first: bool, rate: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        bias, make_norm = norm == "none", norm_layer(norm)
        self.bn1 = make_norm(channels)
        self.relu1 = nn.ReLU()  # not in place: without a norm its input is the shortcut's, too
        self.conv1 = conv(channels, width, 3, stride, bias)
        self.bn2 = make_norm(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(width, width, 3, 1, bias)
        self.shortcut = shortcut(channels, width, stride, norm, first)
        self.drop_path = drop_path(rate)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))  # (B, channels, h, w)
        y = self.relu2(self.bn2(self.conv1(active)))  # (B, width, h / stride, w / stride)
        y = self.conv2(self.dropout(y))
        return self.drop_path(y) + (x if self.shortcut is None else self.shortcut(active))


class PreactBottleneck(nn.Module):
    """Norm, ReLU, convolution, three times: 1x1 to the width, 3x3, 1x1 to four times the width.

    The arguments are those of `PreactBlock`; the stride is that of the 3x3 convolution.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, norm: str, first: bool, rate: float) -> None:
        super().__init__()
        bias, make_norm, out = norm == "none", norm_layer(norm), width * self.expansion
        self.bn1 = make_norm(channels)
        self.relu1 = nn.ReLU()  # not in place: without a norm its input is the shortcut's, too
        self.conv1 = conv(channels, width, 1, 1, bias)
        self.bn2 = make_norm(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = conv(width, width, 3, stride, bias)
        self.bn3 = make_norm(width)
        self.relu3 = nn.ReLU(inplace=True)
        self.conv3 = conv(width, out, 1, 1, bias)
        self.shortcut = shortcut(channels, out, stride, norm, first)
        self.drop_path = drop_path(rate)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))  # (B, channels, h, w)
        y = self.relu2(self.bn2(self.conv1(active)))  # (B, width, h, w)
        y = self.relu3(self.bn3(self.conv2(y)))  # (B, width, h / stride, w / stride)
        y = self.conv3(y)  # (B, 4 * width, h / stride, w / stride)
        return self.drop_path(y) + (x if self.shortcut is None else self.shortcut(active))


class PreactResNet(Backbone):
    """Stem and groups of blocks; the last group, with norm and ReLU behind it, is a region's tail and the last stage.

    The other stages are what the next block is given, sums without a norm. Their names are c0, c1, c2 (strides 1, 2,
    4) in the CIFAR form and c1 ... c5 in the ImageNet form.

    Args:
        block: PreactBlock or PreactBottleneck.
        depths: blocks in each group.
        widths: width of each group (before a bottleneck's expansion).
        norm: "batch", "frozen", "group" or "none", used everywhere.
        drop_path: probability to drop the last block's branch in training; it rises linearly from the first block.
        imagenet: a stem of stride 4 with as many channels as the first group, in place of a 3x3 one of 16 channels.
        options: of every block: `dropout` of a PreactBlock.
    """

    classifier_keys = {"linear.": "linear."}

    def __init__(
        self,
        block: type[PreactBlock] | type[PreactBottleneck],
        depths: Sequence[int],
        widths: Sequence[int] = (16, 32, 64),
        norm: str = "batch",
        drop_path: float = 0.0,
        imagenet: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        bias = norm == "none"
        if imagenet:
            channels, level, lead = widths[0], 2, "maxpool"
            self.conv1 = conv(3, channels, 7, 2, bias)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
            self.stages, self.paths = {"c1": Stage(channels, 2)}, {"c1": ("conv1",)}
        else:
            channels, level, lead = 16, 0, "conv1"
            self.conv1 = conv(3, channels, 3, 1, bias)
            self.stages, self.paths = {}, {}
            self.min_size, self.resolution = 8, 32
        for group, (width, rates) in enumerate(zip(widths, linear_rule(drop_path, depths), strict=True)):
            blocks: list[nn.Module] = []
            for index, rate in enumerate(rates):
                stride = 2 if group > 0 and index == 0 else 1
                blocks.append(block(channels, width, stride, norm, group == index == 0, rate, **options))
                channels = width * block.expansion
            self.add_module(f"layer{group + 1}", nn.Sequential(*blocks))
            name = f"c{level + group}"
            self.stages[name] = Stage(channels, 1 << (level + group))
            self.paths[name] = (lead, "layer1") if group == 0 else (f"layer{group + 1}",)
        self.bn = norm_layer(norm)(channels)
        self.relu = nn.ReLU(inplace=True)

        *_, region, last = self.stages
        self.paths[last] += ("bn", "relu")
        self.region_stages = self.proposal_stages = (region,)
        self.window = 14 if imagenet else 16
        self.out_channels = channels
        self.dense_stride = 2
        he_normal_(self)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.through(tuple(self.stages)[-1], windows)  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def preact_resnet20(weights: str | None = None, norm: str = "batch", drop_path: float = 0.0) -> PreactResNet:
    """Pre-activation ResNet-20. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(PreactResNet(PreactBlock, (3, 3, 3), norm=norm, drop_path=drop_path), weights)


def preact_resnet56(weights: str | None = None, norm: str = "batch", drop_path: float = 0.0) -> PreactResNet:
    """Pre-activation ResNet-56. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(PreactResNet(PreactBlock, (9, 9, 9), norm=norm, drop_path=drop_path), weights)


def preact_resnet110(weights: str | None = None, norm: str = "batch", drop_path: float = 0.0) -> PreactResNet:
    """Pre-activation ResNet-110. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(PreactResNet(PreactBlock, (18, 18, 18), norm=norm, drop_path=drop_path), weights)


def preact_resnet164(weights: str | None = None, norm: str = "batch", drop_path: float = 0.0) -> PreactResNet:
    """Pre-activation ResNet-164, of bottlenecks. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(PreactResNet(PreactBottleneck, (18, 18, 18), norm=norm, drop_path=drop_path), weights)


def preact_resnet50(weights: str | None = None, norm: str = "batch", drop_path: float = 0.0) -> PreactResNet:
    """Pre-activation ResNet-50 for ImageNet. `weights`: None or a file; see `pretrained.load_weights`."""
    widths = (64, 128, 256, 512)
    net = PreactResNet(PreactBottleneck, (3, 4, 6, 3), widths, norm, drop_path, imagenet=True)
    return initialise(net, weights)


def wide_resnet28_10(
    weights: str | None = None, norm: str = "batch", dropout: float = 0.0, drop_path: float = 0.0
) -> PreactResNet:
    """WRN-28-10 for CIFAR. `weights`: None or a file; see `pretrained.load_weights`."""
    net = PreactResNet(PreactBlock, (4, 4, 4), (160, 320, 640), norm, drop_path, dropout=dropout)
    return initialise(net, weights)


def wide_resnet16_4(
    weights: str | None = None, norm: str = "batch", dropout: float = 0.0, drop_path: float = 0.0
) -> PreactResNet:
    """WRN-16-4 for CIFAR. `weights`: None or a file; see `pretrained.load_weights`."""
    net = PreactResNet(PreactBlock, (2, 2, 2), (64, 128, 256), norm, drop_path, dropout=dropout)
    return initialise(net, weights)

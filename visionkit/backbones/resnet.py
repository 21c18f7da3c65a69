"""ResNet (He et al., "Deep Residual Learning for Image Recognition", 2015), cut at stride 16 for regions.

Keys are torchvision's. The stride of a bottleneck sits in its 3x3 convolution ("v1.5"), as in torchvision's weights.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise


def conv(channels: int, out: int, size: int, stride: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, bias=bias)


def projection(channels: int, out: int, stride: int, norm: str) -> nn.Module | None:
    """The shortcut where the shape changes (option B of the paper, sec. 3.3); None where it is the identity."""
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(conv(channels, out, 1, stride, norm == "none"), norm_layer(norm)(out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (fig. 5, left)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        bias, make_norm = norm == "none", norm_layer(norm)
        self.conv1 = conv(channels, width, 3, stride, bias)
        self.bn1 = make_norm(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv(width, width, 3, 1, bias)
        self.bn2 = make_norm(width)
        self.downsample = projection(channels, width, stride, norm)
        self.relu2 = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.Module:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu1(self.bn1(self.conv1(x)))  # (B, width, h / stride, w / stride)
        y = self.bn2(self.conv2(y))
        return self.relu2(y + shortcut)


class Bottleneck(nn.Module):
    """1x1 down to the width, 3x3, 1x1 up to four times the width, beside a shortcut (fig. 5, right)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        bias, make_norm, out = norm == "none", norm_layer(norm), width * self.expansion
        self.conv1 = conv(channels, width, 1, 1, bias)
        self.bn1 = make_norm(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv(width, width, 3, stride, bias)
        self.bn2 = make_norm(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = conv(width, out, 1, 1, bias)
        self.bn3 = make_norm(out)
        self.downsample = projection(channels, out, stride, norm)
        self.relu3 = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.Module:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu1(self.bn1(self.conv1(x)))  # (B, width, h, w)
        y = self.relu2(self.bn2(self.conv2(y)))  # (B, width, h / stride, w / stride)
        y = self.bn3(self.conv3(y))  # (B, 4 * width, h / stride, w / stride)
        return self.relu3(y + shortcut)


class ResNet(Backbone):
    """Stem, four groups of residual blocks; the fourth is the tail of a region as well as stage c5.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks in each of the four groups.
        widths: width of each group (before a bottleneck's expansion); the stem has the first.
        norm: "batch", "frozen", "group" or "none", used everywhere.
        zero_init_residual: start every block as its shortcut (Goyal et al. 2017, sec. 5.1).
    """

    classifier_keys = {"fc.": "linear."}

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        norm: str = "batch",
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=norm == "none")
        self.bn1 = norm_layer(norm)(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        outs = [width * block.expansion for width in widths]
        ins = [widths[0], *outs[:3]]
        groups = [
            nn.Sequential(
                block(channels, width, 1 if level == 0 else 2, norm),
                *(block(width * block.expansion, width, 1, norm) for _ in range(depth - 1)),
            )
            for level, (channels, width, depth) in enumerate(zip(ins, widths, depths, strict=True))
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = groups

        self.stages = {"c1": Stage(widths[0], 2)} | {f"c{i + 2}": Stage(outs[i], 4 << i) for i in range(4)}
        self.paths = {"c1": ("conv1", "bn1", "relu"), "c2": ("maxpool", "layer1")}
        self.paths |= {f"c{level + 1}": (f"layer{level}",) for level in (2, 3, 4)}
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.out_channels = outs[3]
        self.dense_stride = 2
        self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        """He et al. 2015 (fan out); norms keep their own start."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif (
                zero_init_residual
                and isinstance(module, (BasicBlock, Bottleneck))
                and isinstance(module.last_norm, (nn.BatchNorm2d, nn.GroupNorm))
            ):
                nn.init.zeros_(module.last_norm.weight)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.layer4(windows)  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def _published(name: str, net: ResNet, weights: str | None) -> ResNet:
    net.weights_url = imagenet.URLS[name]
    return initialise(net, weights)


def resnet18(weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False) -> ResNet:
    """ResNet-18. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(BasicBlock, (2, 2, 2, 2), norm=norm, zero_init_residual=zero_init_residual)
    return _published("resnet18", net, weights)


def resnet34(weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False) -> ResNet:
    """ResNet-34. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(BasicBlock, (3, 4, 6, 3), norm=norm, zero_init_residual=zero_init_residual)
    return _published("resnet34", net, weights)


def resnet50(weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False) -> ResNet:
    """ResNet-50. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(Bottleneck, (3, 4, 6, 3), norm=norm, zero_init_residual=zero_init_residual)
    return _published("resnet50", net, weights)


def resnet101(weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False) -> ResNet:
    """ResNet-101. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(Bottleneck, (3, 4, 23, 3), norm=norm, zero_init_residual=zero_init_residual)
    return _published("resnet101", net, weights)


def resnet152(weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False) -> ResNet:
    """ResNet-152. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(Bottleneck, (3, 8, 36, 3), norm=norm, zero_init_residual=zero_init_residual)
    return _published("resnet152", net, weights)


def basic_resnet(
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (1, 1, 1, 1),
    weights: str | None = None,
    norm: str = "batch",
    zero_init_residual: bool = False,
) -> ResNet:
    """A narrow trunk of basic blocks that trains from scratch in minutes; no published weights exist for it."""
    net = ResNet(BasicBlock, depths, widths, norm=norm, zero_init_residual=zero_init_residual)
    return initialise(net, weights)

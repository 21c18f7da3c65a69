"""CIFAR ResNet (He et al., "Deep Residual Learning for Image Recognition", 2015, sec. 4.2), and the plain twins.

A 3x3 stem, then three groups of n blocks of two layers, with 16, 32 and 64 channels at strides 1, 2 and 4, and one
linear layer: 6n + 2 layers. Where the shape changes, the shortcut subsamples and fills up with channels of zeros
(option A), so no shortcut has a parameter. The plain networks lack the shortcuts and nothing else (fig. 6, left).

Keys are those of the published `resnetN-*.th` files (akamaster/pytorch_resnet_cifar10, 91.7 % for ResNet-20). They
were trained with ImageNet's mean and std: CIFAR's own give as many right answers and a larger cross-entropy.
"""

from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.drop_path import drop_path, linear_rule
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.backbones.resnet_blocks import conv, he_normal_, zero_last_norms_
from visionkit.errors import ConfigError

WIDTHS = (16, 32, 64)


def zero_padding(channels: int, width: int, stride: int) -> nn.Module:
    """The shortcut without parameters: every stride-th cell, then zeros for the new channels (option A, sec. 3.3)."""
    if stride == 1 and channels == width:
        return nn.Identity()
    more = width - channels  # half of them before and half behind, as the published weights have it
    return nn.Sequential(nn.AvgPool2d(1, stride), nn.ZeroPad3d((0, 0, 0, 0, more // 2, more - more // 2)))


class CifarBlock(nn.Module):
    """Two 3x3 convolutions, beside a shortcut or not."""

    def __init__(self, channels: int, width: int, stride: int, norm: str, shortcut: bool, rate: float) -> None:
        super().__init__()
        bias, make_norm = norm == "none", norm_layer(norm)
        self.conv1 = conv(channels, width, 3, stride, bias)
        self.bn1 = make_norm(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv(width, width, 3, 1, bias)
        self.bn2 = make_norm(width)
        self.shortcut = zero_padding(channels, width, stride) if shortcut else None
        self.drop_path = drop_path(rate)
        self.relu2 = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.Module:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))  # (B, width, h / stride, w / stride)
        y = self.bn2(self.conv2(y))
        if self.shortcut is not None:
            y = self.drop_path(y) + self.shortcut(x)
        return self.relu2(y)


class CifarResNet(Backbone):
    """Stem and three groups; the third is the tail of a region as well as stage c2.

    Args:
        depth: weighted layers, 6n + 2 for n blocks a group.
        norm: "batch", "frozen", "group" or "none", used everywhere.
        shortcuts: False for the plain network.
        drop_path: probability to drop the last block's branch in training; it rises linearly from the first block.
        zero_init_residual: start every block as its shortcut (Goyal et al. 2017, sec. 5.1).
    """

    classifier_keys = {"linear.": "linear."}
    min_size = 8
    resolution = 32

    def __init__(
        self,
        depth: int,
        norm: str = "batch",
        shortcuts: bool = True,
        drop_path: float = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ConfigError(f"the depth of a CIFAR ResNet is 6n + 2 (8, 14, 20, 32, ...), not {depth}")
        rates = linear_rule(drop_path, [depth // 6] * 3)
        self.conv1 = conv(3, WIDTHS[0], 3, 1, norm == "none")
        self.bn1 = norm_layer(norm)(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        groups, channels = [], WIDTHS[0]
        for level, width in enumerate(WIDTHS):
            blocks = []
            for index, rate in enumerate(rates[level]):
                stride = 2 if level > 0 and index == 0 else 1
                blocks.append(CifarBlock(channels, width, stride, norm, shortcuts, rate))
                channels = width
            groups.append(nn.Sequential(*blocks))
        # Other names in a plain network, or the weights of its residual twin would load.
        names = [f"{'layer' if shortcuts else 'plain'}{level}" for level in (1, 2, 3)]
        for name, group in zip(names, groups, strict=True):
            self.add_module(name, group)

        self.stages = {f"c{level}": Stage(width, 1 << level) for level, width in enumerate(WIDTHS)}
        self.paths = {"c0": ("conv1", "bn1", "relu", names[0]), "c1": (names[1],), "c2": (names[2],)}
        self.region_stages = self.proposal_stages = ("c1",)
        self.window = 16  # of a 32 x 32 image
        self.out_channels = channels
        self.dense_stride = 2
        he_normal_(self)
        if zero_init_residual:
            zero_last_norms_(self)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.through("c2", windows)  # (R, 64, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def resnet20(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> CifarResNet:
    """ResNet-20. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(20, norm, drop_path=drop_path, zero_init_residual=zero_init_residual), weights)


def resnet32(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> CifarResNet:
    """ResNet-32. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(32, norm, drop_path=drop_path, zero_init_residual=zero_init_residual), weights)


def resnet44(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> CifarResNet:
    """ResNet-44. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(44, norm, drop_path=drop_path, zero_init_residual=zero_init_residual), weights)


def resnet56(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> CifarResNet:
    """ResNet-56. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(56, norm, drop_path=drop_path, zero_init_residual=zero_init_residual), weights)


def resnet110(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> CifarResNet:
    """ResNet-110. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(110, norm, drop_path=drop_path, zero_init_residual=zero_init_residual), weights)


def plain20(weights: str | None = None, norm: str = "batch") -> CifarResNet:
    """ResNet-20 without shortcuts. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(20, norm, shortcuts=False), weights)


def plain32(weights: str | None = None, norm: str = "batch") -> CifarResNet:
    """ResNet-32 without shortcuts. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(32, norm, shortcuts=False), weights)


def plain44(weights: str | None = None, norm: str = "batch") -> CifarResNet:
    """ResNet-44 without shortcuts. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(44, norm, shortcuts=False), weights)


def plain56(weights: str | None = None, norm: str = "batch") -> CifarResNet:
    """ResNet-56 without shortcuts. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(56, norm, shortcuts=False), weights)


def plain110(weights: str | None = None, norm: str = "batch") -> CifarResNet:
    """ResNet-110 without shortcuts. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CifarResNet(110, norm, shortcuts=False), weights)

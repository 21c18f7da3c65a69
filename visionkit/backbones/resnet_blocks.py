"""The two residual blocks of ResNet and of the networks that differ from it inside a block only.

Attribute names are torchvision's keys, those of squeeze-and-excitation timm's.
"""

from torch import Tensor, nn

from visionkit.backbones.drop_path import drop_path
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.squeeze_excite import SqueezeExcite


def conv(channels: int, out: int, size: int, stride: int, bias: bool, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (size // 2)
    return nn.Conv2d(channels, out, size, stride, padding, dilation=dilation, groups=groups, bias=bias)


def projection(channels: int, out: int, stride: int, norm: str) -> nn.Module | None:
    """The shortcut where the shape changes (option B of the paper, sec. 3.3); None where it is the identity."""
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(conv(channels, out, 1, stride, norm == "none"), norm_layer(norm)(out))


def excitation(channels: int, used: bool) -> nn.Module:
    """Squeeze-and-excitation at the end of a branch (Hu et al. 2017, fig. 3), or nothing."""
    return SqueezeExcite(channels, channels // 16) if used else nn.Identity()


def he_normal_(net: nn.Module) -> None:
    """He et al. 2015 (fan out) for convolutions, biases 0; norms keep their own start."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def zero_last_norms_(net: nn.Module) -> None:
    """Every block (a module with a `last_norm`) starts as its shortcut: Goyal et al. 2017, sec. 5.1."""
    for module in net.modules():
        last = getattr(module, "last_norm", None)
        if isinstance(last, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.zeros_(last.weight)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2015, fig. 5, left).

    Args:
        channels: of the input.
        width: of both convolutions, and so of the output.
        stride: of the first convolution.
        norm: "batch", "frozen", "group" or "none".
        rate: probability to drop the branch in training.
        squeeze_excite: scale the branch's channels before the sum.
        dilation: of the 3x3 convolutions.
        first_dilation: of the first of them, the one with the stride; None = as the others.
    """

    expansion = 1

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        norm: str,
        rate: float = 0.0,
        squeeze_excite: bool = False,
        dilation: int = 1,
        first_dilation: int | None = None,
    ) -> None:
        super().__init__()
        bias, make_norm = norm == "none", norm_layer(norm)
        self.conv1 = conv(channels, width, 3, stride, bias, dilation=first_dilation or dilation)
        self.bn1 = make_norm(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv(width, width, 3, 1, bias, dilation=dilation)
        self.bn2 = make_norm(width)
        self.se = excitation(width, squeeze_excite)
        self.downsample = projection(channels, width, stride, norm)
        self.drop_path = drop_path(rate)
        self.relu2 = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.Module:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu1(self.bn1(self.conv1(x)))  # (B, width, h / stride, w / stride)
        y = self.se(self.bn2(self.conv2(y)))
        return self.relu2(self.drop_path(y).add_(shortcut))  # in place: nobody needs the branch alone


class Bottleneck(nn.Module):
    """1x1 down to the width, 3x3, 1x1 up to four times the width, beside a shortcut (He et al. 2015, fig. 5, right).

    Args:
        width: a quarter of the output's channels; that of the two inner maps is
            `width * groups * width_per_group / 64`, so the same for one group of 64.
        groups, width_per_group: of the 3x3 convolution (ResNeXt's 32x4d is 32 and 4).
        stride_in_1x1: the first 1x1 convolution has the stride, as in the networks of the paper's authors, and not the
            3x3 one, as in those of torchvision.
        dilation, first_dilation: of the 3x3 convolution; the second wins, see `BasicBlock`.
        channels, stride, norm, rate, squeeze_excite: as in `BasicBlock`.
    """

    expansion = 4

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        norm: str,
        rate: float = 0.0,
        squeeze_excite: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        stride_in_1x1: bool = False,
        dilation: int = 1,
        first_dilation: int | None = None,
    ) -> None:
        super().__init__()
        bias, make_norm, out = norm == "none", norm_layer(norm), width * self.expansion
        inner = width * width_per_group // 64 * groups
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv(channels, inner, 1, first, bias)
        self.bn1 = make_norm(inner)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = conv(inner, inner, 3, second, bias, groups, first_dilation or dilation)
        self.bn2 = make_norm(inner)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = conv(inner, out, 1, 1, bias)
        self.bn3 = make_norm(out)
        self.se = excitation(out, squeeze_excite)
        self.downsample = projection(channels, out, stride, norm)
        self.drop_path = drop_path(rate)
        self.relu3 = nn.ReLU(inplace=True)

    @property
    def last_norm(self) -> nn.Module:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu1(self.bn1(self.conv1(x)))  # (B, inner, h, w), or that over the stride
        y = self.relu2(self.bn2(self.conv2(y)))  # (B, inner, h / stride, w / stride)
        y = self.se(self.bn3(self.conv3(y)))  # (B, 4 * width, h / stride, w / stride)
        return self.relu3(self.drop_path(y).add_(shortcut))

"""Inception modules (Szegedy et al., "Going Deeper with Convolutions", 2014, fig. 2): filters of all sizes in parallel.

Keys are torchvision's: `branch1` ... `branch4`, each convolution with its norm as `conv` and `bn`.
"""

import torch
from torch import Tensor, nn

from visionkit.backbones.norms import FrozenBatchNorm2d, norm_layer

EPS = 0.001  # of the batch norms, as in the published weights


class ConvNormReLU(nn.Module):
    """A convolution that keeps the size (divided by the stride), its norm, ReLU."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1, norm: str = "batch") -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, bias=norm == "none")
        self.bn = norm_layer(norm)(out)
        if isinstance(self.bn, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            self.bn.eps = EPS
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))  # (B, out, ceil(h / stride), ceil(w / stride))


class NaiveInception(nn.Module):
    """Fig. 2(a): 1x1, 3x3 and 5x5 convolutions and a 3x3 max pool on the whole input, concatenated.

    The pool keeps every channel, so each module is wider than the one before, and the 5x5 sees all of them: the cost
    that fig. 2(b)'s bottlenecks remove.

    Args:
        channels: of the input.
        ones, threes, fives: filters of each size.
        norm: "none" for the paper's, else one after every convolution.
    """

    def __init__(self, channels: int, ones: int, threes: int, fives: int, norm: str = "none") -> None:
        super().__init__()
        self.out_channels = ones + threes + fives + channels
        self.branch1 = ConvNormReLU(channels, ones, 1, norm=norm)
        self.branch2 = ConvNormReLU(channels, threes, 3, norm=norm)
        self.branch3 = ConvNormReLU(channels, fives, 5, norm=norm)
        self.branch4 = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x))
        return torch.cat(branches, dim=1)  # (B, out_channels, h, w)


class Inception(nn.Module):
    """Fig. 2(b): 1x1 convolutions before the 3x3 and the 5x5, and after the pool, bound the number of channels.

    Args:
        channels: of the input.
        ones, reduce3, threes, reduce5, fives, projection: filters, in the order of the columns of table 1.
        norm: one after every convolution, or "none".
        fives_size: 5; torchvision's published weights have 3x3 filters in the place of the 5x5.
    """

    def __init__(
        self,
        channels: int,
        ones: int,
        reduce3: int,
        threes: int,
        reduce5: int,
        fives: int,
        projection: int,
        norm: str = "batch",
        fives_size: int = 5,
    ) -> None:
        super().__init__()
        self.out_channels = ones + threes + fives + projection
        self.branch1 = ConvNormReLU(channels, ones, 1, norm=norm)
        self.branch2 = nn.Sequential(
            ConvNormReLU(channels, reduce3, 1, norm=norm), ConvNormReLU(reduce3, threes, 3, norm=norm)
        )
        self.branch3 = nn.Sequential(
            ConvNormReLU(channels, reduce5, 1, norm=norm), ConvNormReLU(reduce5, fives, fives_size, norm=norm)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), ConvNormReLU(channels, projection, 1, norm=norm)
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x))
        return torch.cat(branches, dim=1)  # (B, out_channels, h, w)

"""Group convolutions (`ops/p4_conv.py`) as layers of a chain: maps are (B, 4 * C, h, w), the C channels of one rotation
after those of another."""

import torch
from torch import Tensor, nn

from visionkit.backbones.initialisers import he
from visionkit.backbones.norms import norm_layer
from visionkit.ops.p4_conv import TURNS, group_conv, lifting_conv, pool_rotations


class LiftingConv(nn.Module):
    """An image (B, channels, h, w) -> maps of the group, (B, 4 * out, h, w), by 3x3 filters in four rotations."""

    def __init__(self, channels: int, out: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, channels, 3, 3))
        he(self.weight)
        self.bias = nn.Parameter(self.weight.new_zeros(out)) if bias else None

    def forward(self, images: Tensor) -> Tensor:
        return lifting_conv(images, self.weight, self.bias, padding=1).flatten(1, 2)


class GroupConv(nn.Module):
    """Maps of the group (B, 4 * channels, h, w) -> (B, 4 * out, h, w), by 3x3 filters in four rotations."""

    def __init__(self, channels: int, out: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, TURNS * channels, 3, 3))  # channels_last is for four dimensions
        he(self.weight)
        self.bias = nn.Parameter(self.weight.new_zeros(out)) if bias else None

    def forward(self, maps: Tensor) -> Tensor:
        given = maps.unflatten(1, (TURNS, -1))  # (B, 4, channels, h, w)
        return group_conv(given, self.weight.unflatten(1, (TURNS, -1)), self.bias, padding=1).flatten(1, 2)


class SharedNorm(nn.Module):
    """A norm with one scale, one shift and one set of statistics for the four rotations of a channel: rotations count
    as pictures. With its own for each it would tell them apart (Cohen and Welling 2016, sec. 6.2)."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.norm = norm_layer(norm)(channels)

    def forward(self, maps: Tensor) -> Tensor:
        rows = maps.unflatten(1, (TURNS, -1)).flatten(0, 1)  # (4 * B, channels, h, w)
        return self.norm(rows).unflatten(0, (-1, TURNS)).flatten(1, 2)


class PoolRotations(nn.Module):
    """Maps of the group (B, 4 * channels, h, w) -> the largest over rotations, (B, channels, h, w)."""

    def forward(self, maps: Tensor) -> Tensor:
        return pool_rotations(maps.unflatten(1, (TURNS, -1)))

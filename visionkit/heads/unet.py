"""U-Net (Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015), as the
way back from any network's maps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Stage
from visionkit.backbones.norms import Norm
from visionkit.heads.conv_norm_relu import class_scores, conv_norm_relu
from visionkit.ops.upsample import resize_maps, resize_scores


class UNetBlock(nn.Module):
    """A coarse map enlarged to a finer one, laid beside it, and two 3x3 convolutions over both, with norm and ReLU.

    Args:
        channels: of the coarse map.
        skip: channels of the finer map.
        out: channels that leave the block.
        factor: how much finer that map is.
        up: "transposed" learns to enlarge ("up-convolution"), to the finer map's channels or to its own where they are
            fewer; "bilinear" interpolates.
        norm: channels -> the layer after each 3x3 convolution, which then has no bias.
    """

    def __init__(self, channels: int, skip: int, out: int, factor: int, up: str, norm: Norm) -> None:
        super().__init__()
        self.enlarge: nn.Module = nn.Identity()
        if up == "transposed":
            fewer = min(channels, skip)
            self.enlarge = nn.ConvTranspose2d(channels, fewer, factor, stride=factor)
            channels = fewer
        self.layers = nn.Sequential(conv_norm_relu(skip + channels, out, norm), conv_norm_relu(out, out, norm))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, channels, h, w) and (B, skip, h', w') -> (B, out, h', w')."""
        # Networks with unpadded layers (AlexNet) have maps that do not divide: stretched by a cell.
        enlarged = resize_maps(self.enlarge(coarse), (fine.shape[2], fine.shape[3]))
        found: Tensor = self.layers(torch.cat((fine, enlarged), dim=1))
        return found


class UNetHead(nn.Module):
    """The expanding path (fig. 1 of the paper) down to the finest map, then 1x1 class scores resized to the picture.

    Args:
        stages: the maps from the deepest to the finest, each of a smaller stride than the one before.
        widths: channels after each of the blocks, one for every map but the deepest.
        num_classes: K.
        least: pixels that a side needs at least.
        up: "transposed" or "bilinear", see `UNetBlock`.
        norm: channels -> the layer after each 3x3 convolution.
    Raises:
        ValueError: a width too many or too few, an unknown `up`, or maps that do not get finer by whole factors.
    """

    covering_tail = True  # it has no use for the tail
    class_layers = ("scores",)

    def __init__(
        self,
        stages: Mapping[str, Stage],
        widths: Sequence[int],
        num_classes: int,
        least: int = 1,
        up: str = "transposed",
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if up not in ("transposed", "bilinear"):
            raise ValueError(f"up has to be transposed or bilinear, not {up!r}")
        if len(widths) != len(stages) - 1 or not widths:
            raise ValueError(f"{len(stages)} maps, so {len(stages) - 1} widths are wanted, not {len(widths)}")
        (self.deepest, coarse), *finer = stages.items()
        self.stages = tuple(stages)
        self.multiple, self.least = coarse.stride, least
        channels, stride = coarse
        self.blocks = nn.ModuleDict()
        for (name, fine), width in zip(finer, widths, strict=True):
            if stride <= fine.stride or stride % fine.stride:
                raise ValueError(f"{name} has a stride of {fine.stride}, which is not a part of {stride} before it")
            self.blocks[name] = UNetBlock(channels, fine.channels, width, stride // fine.stride, up, norm)
            channels, stride = width, fine.stride
        self.scores = class_scores(channels, num_classes)

    def forward(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        """The maps of `stages` -> scores (B, K, *size), float32 or wider."""
        x = maps[self.deepest]
        for name, block in self.blocks.items():
            x = block(x, maps[name])
        scores: Tensor = self.scores(x)  # (B, K, h, w) of the finest map
        return resize_scores(scores, size)

"""SegNet (Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", 2017): DeconvNet without its fully connected layers, which hold 88 % of its weights."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from visionkit.backbones.norms import Norm
from visionkit.heads.conv_norm_relu import class_scores
from visionkit.heads.unpool_block import mirrored_blocks


class SegNetHead(nn.Module):
    """The decoder (sec. 3 of the paper): from the last pooled map block by block, unpooling with the switches of the
    way down and 3x3 convolutions, mirrored in depth and width; batch norm and ReLU after each; 1x1 class scores.

    Args:
        pooled: the last pooled map, "pool5".
        widths: channels of the blocks' last maps by stage name, from the deepest to the first ("c5" ... "c1").
        depths: convolutions of those blocks, in the same order.
        num_classes: K.
        least: pixels that a side needs at least.
        norm: channels -> the layer after each convolution, which then has no bias.
    """

    covering_tail = True  # it has no use for the tail
    class_layers = ("scores",)

    def __init__(
        self,
        pooled: str,
        widths: Mapping[str, int],
        depths: Sequence[int],
        num_classes: int,
        least: int = 1,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.pooled = pooled
        self.stages = (pooled, *widths)
        self.multiple, self.least = 2 ** len(widths), least
        self.blocks = mirrored_blocks(widths, depths, norm, nn.Conv2d)
        self.scores = class_scores([*widths.values()][-1], num_classes)

    def forward(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        """The last pooled map and those before each pool -> scores (B, K, *size), the size of the first block's map."""
        x = maps[self.pooled]  # (B, C, h, w)
        for stage, block in self.blocks.items():
            x = block(x, maps[stage])  # twice as large
        scores: Tensor = self.scores(x)
        return scores

"""DeconvNet (Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", 2015): VGG and its mirror."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from visionkit.backbones.norms import Norm
from visionkit.heads.conv_norm_relu import class_scores, conv_norm_relu
from visionkit.heads.fcn import TAIL
from visionkit.heads.unpool_block import mirrored_blocks
from visionkit.ops.upsample import stamp_counts


class DeconvNetHead(nn.Module):
    """The deconvolution network (sec. 3 and table 2 of the paper): from the vector of a fully connected tail to a map
    of a window by one large transposed convolution, then block by block unpooling with the switches of the way down
    and transposed 3x3 convolutions, mirrored in depth and width; batch norm and ReLU after each; 1x1 class scores.

    On a picture larger than the tail's window the maps of its windows overlap, and their mean is taken: a sum would
    grow with the picture, away from what the norm after it has learnt. The paper instead shows the network one proposal
    at a time, stretched to its window, and merges their scores; and its authors have batch norm in the fully connected
    layers too, where ours are the trunk's own, with dropout.

    Args:
        hidden: channels of the tail's maps.
        widths: channels of the blocks' last maps by stage name, from the deepest to the first ("c5" ... "c1").
        depths: convolutions of those blocks, in the same order.
        num_classes: K.
        window: side of what the tail sees, in cells of the deepest pooled map: 7 of VGG-16.
        norm: channels -> the layer after each transposed convolution, which then has no bias.
    """

    covering_tail = False
    class_layers = ("scores",)

    def __init__(
        self,
        hidden: int,
        widths: Mapping[str, int],
        depths: Sequence[int],
        num_classes: int,
        window: int = 7,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.stages = (TAIL, *widths)
        self.multiple = 2 ** len(widths)
        self.least = window * self.multiple
        channels = [*widths.values()]
        self.window = window
        self.expand = conv_norm_relu(hidden, channels[0], norm, nn.ConvTranspose2d, size=window, padding=0)
        self.blocks = mirrored_blocks(widths, depths, norm, nn.ConvTranspose2d)
        self.scores = class_scores(channels[-1], num_classes)

    def forward(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        """Tail maps (B, hidden, h - window + 1, w - window + 1) and the maps before each pool -> scores (B, K, *size),
        which is the size of the first block's map."""
        convolution, *rest = self.expand
        x = convolution(maps[TAIL])  # (B, C, h, w)
        x = x / stamp_counts((x.shape[2], x.shape[3]), self.window).to(x)
        for layer in rest:
            x = layer(x)
        for stage, block in self.blocks.items():
            x = block(x, maps[stage])  # twice as large
        scores: Tensor = self.scores(x)
        return scores

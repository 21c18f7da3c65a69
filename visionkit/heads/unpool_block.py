"""A network's blocks mirrored: each unpools with the switches of its counterpart, then convolves as often as that does.

The way back of DeconvNet (transposed convolutions) and of SegNet (plain ones).
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from visionkit.backbones.norms import Norm
from visionkit.heads.conv_norm_relu import Convolution, conv_norm_relu
from visionkit.ops.unpool import max_unpool


class UnpoolBlock(nn.Module):
    """Max unpooling, then `depth` 3x3 convolutions with norm and ReLU, of which the last changes the width.

    Args:
        channels: of the maps that come in, and of the block that it mirrors.
        out: channels that leave it: those of the block before the mirrored one.
        depth: convolutions, at least 1.
        norm: channels -> the layer after each convolution.
        convolution: nn.ConvTranspose2d or nn.Conv2d. At stride 1 they can do the same: one is the other with its kernel
            turned round.
    """

    def __init__(self, channels: int, out: int, depth: int, norm: Norm, convolution: Convolution) -> None:
        super().__init__()
        widths = [channels] * depth + [out]
        self.layers = nn.Sequential(
            *(conv_norm_relu(widths[i], widths[i + 1], norm, convolution) for i in range(depth))
        )

    def forward(self, maps: Tensor, before: Tensor) -> Tensor:
        """Maps (B, channels, h // 2, w // 2), and those that the mirrored block pooled (B, channels, h, w)
        -> (B, out, h, w)."""
        found: Tensor = self.layers(max_unpool(maps, before))
        return found


def mirrored_blocks(
    widths: Mapping[str, int], depths: Sequence[int], norm: Norm, convolution: Convolution
) -> nn.ModuleDict:
    """An `UnpoolBlock` for each stage, each as wide at its end as the next one is at its beginning.

    Args:
        widths: channels of the blocks' last maps by stage name, from the deepest to the first.
        depths: convolutions of each, in the same order.
    """
    channels = list(widths.values())
    outs = [*channels[1:], channels[-1]]  # the first block's input were pixels; its mirror keeps its width
    return nn.ModuleDict(
        {
            stage: UnpoolBlock(width, out, depth, norm, convolution)
            for (stage, width), out, depth in zip(widths.items(), outs, depths, strict=True)
        }
    )

"""ZFNet (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013): AlexNet, finer at the start.

The first convolution is 7x7 with stride 2, the second has stride 2, so that no frequencies are skipped (sec. 4.1).
`zfnet` is the wide form (512-1024-512), `zf` the network of Faster R-CNN, as its Caffe model has it.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.alexnet import AlexNet, Blocks, conv_relu
from visionkit.backbones.base import Stage
from visionkit.backbones.norms import local_response_norm
from visionkit.backbones.pretrained import initialise


class ZFNet(AlexNet):
    """An AlexNet with all levels: c1 (stride 2) is the first convolution's map, c2 (stride 4) that map pooled."""


class WithinChannelNorm(nn.Module):
    """y = x / (1 + alpha * mean of x^2 over `size` x `size` neighbours in the same channel) ^ beta, zeros outside.

    Caffe's LRN layer with `norm_region: WITHIN_CHANNEL`, which `zf` has in place of AlexNet's.
    """

    def __init__(self, size: int = 3, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        energy = F.avg_pool2d(x.square(), self.size, stride=1, padding=self.size // 2)  # (B, C, h, w)
        return x / (1 + self.alpha * energy) ** self.beta

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha:g}, beta={self.beta:g}"


def zfnet_blocks(widths: Sequence[int], norm: str) -> Blocks:
    """Fig. 3: pools round up, contrast is normalised after them (with AlexNet's constants; the paper gives none)."""
    w1, w2, w3, w4, w5 = widths
    pool1, pool2 = (nn.MaxPool2d(3, stride=2, ceil_mode=True) for _ in range(2))
    conv2 = conv_relu(w1, w2, 5, norm, stride=2)
    conv3 = conv_relu(w2, w3, 3, norm, pad=1)
    return {
        "c1": (Stage(w1, 2), conv_relu(3, w1, 7, norm, stride=2, pad=1)),  # 110 x 110 for an image of 224
        "c2": (Stage(w1, 4), [pool1, local_response_norm()]),  # 55 x 55
        "c3": (Stage(w2, 8), conv2),  # 26 x 26
        "conv3": (Stage(w3, 16), [pool2, local_response_norm(), *conv3]),  # 13 x 13
        "conv4": (Stage(w4, 16), conv_relu(w3, w4, 3, norm, pad=1)),  # 13 x 13
        "c4": (Stage(w5, 16), conv_relu(w4, w5, 3, norm, pad=1)),  # 13 x 13
        "c5": (Stage(w5, 32), [nn.MaxPool2d(3, stride=2)]),  # 6 x 6
    }


def zf_blocks(widths: Sequence[int], norm: str, ceil_mode: bool) -> Blocks:
    """The Caffe model: every layer padded, so that cell i of a map with stride s is centred at pixel i * s."""
    w1, w2, w3, w4, w5 = widths
    pool1, pool2 = (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=ceil_mode) for _ in range(2))
    conv1 = conv_relu(3, w1, 7, norm, stride=2, pad=3)
    conv2 = conv_relu(w1, w2, 5, norm, stride=2, pad=2)
    conv3 = conv_relu(w2, w3, 3, norm, pad=1)
    return {
        "c1": (Stage(w1, 2), [*conv1, WithinChannelNorm()]),  # 112 x 112 for an image of 224
        "c2": (Stage(w1, 4), [pool1]),  # 56 x 56; 57 x 57 with ceil_mode
        "c3": (Stage(w2, 8), [*conv2, WithinChannelNorm()]),  # 28 x 28; 29 x 29
        "conv3": (Stage(w3, 16), [pool2, *conv3]),  # 14 x 14; 15 x 15
        "conv4": (Stage(w4, 16), conv_relu(w3, w4, 3, norm, pad=1)),
        "c4": (Stage(w5, 16), conv_relu(w4, w5, 3, norm, pad=1)),
        "c5": (Stage(w5, 32), [nn.MaxPool2d(3, stride=2)]),  # 6 x 6; 7 x 7
    }


def zfnet(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> ZFNet:
    """ZFNet with 512, 1024 and 512 maps in its last convolutions. `weights`: None or a file.

    A `norm` other than "none" comes after each convolution, beside the contrast normalisation.
    """
    net = ZFNet(zfnet_blocks((96, 256, 512, 1024, 512), norm), 63, dropout=dropout, initial_std=0.01)
    return initialise(net, weights)


def zf(weights: str | None = None, norm: str = "none", dropout: float = 0.5, ceil_mode: bool = False) -> ZFNet:
    """The ZF of Faster R-CNN, with 384, 384 and 256 maps. `weights`: None or a file.

    Args:
        ceil_mode: the pools round up, as Caffe's do: often one more column and row, which lie outside the image. Every
            other cell is at the same place with and without.
    """
    net = ZFNet(zf_blocks((96, 256, 384, 384, 256), norm, ceil_mode), 33, dropout=dropout, initial_std=0.01)
    return initialise(net, weights)

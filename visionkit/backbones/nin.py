"""Network in Network (Lin et al. 2013), in its authors' form for ImageNet (their Caffe model).

Each convolution is followed by two 1x1 convolutions, a small network at every position; there are no fully connected
layers: the last 1x1 convolution makes one map a class, and the mean of a map is the class's score (sec. 3.2).
"""

from collections import OrderedDict

from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise


def conv_classifier(channels: int, num_classes: int, dropout: float = 0.0) -> nn.Sequential:
    """Dropout, 1x1 convolution, ReLU, mean: maps (R, channels, h, w) -> logits (R, num_classes).

    The convolution is called `conv`. Scores are averaged over positions after the ReLU, so this is no linear layer on
    the mean of the maps.
    """
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, 0, 0.01)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    layers: dict[str, nn.Module] = {"dropout": nn.Dropout(dropout)} if dropout else {}
    layers |= {"conv": conv, "relu": nn.ReLU(inplace=True), "mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(1)}
    return nn.Sequential(OrderedDict(layers))


def mlpconv(channels: int, out: int, size: int, stride: int, padding: int, norm: str, layers: int = 3) -> nn.Sequential:
    """A convolution and 1x1 convolutions after it, `layers` together, each with ReLU."""
    make_norm = norm_layer(norm)
    modules: list[nn.Module] = []
    for i in range(layers):
        if i == 0:
            modules.append(nn.Conv2d(channels, out, size, stride=stride, padding=padding, bias=norm == "none"))
        else:
            modules.append(nn.Conv2d(out, out, 1, bias=norm == "none"))
        if norm != "none":
            modules.append(make_norm(out))
        modules.append(nn.ReLU(inplace=True))
    return nn.Sequential(*modules)


class NiN(Backbone):
    """Four blocks with max pools between; of the fourth, the last 1x1 convolution is the classifier's.

    Stages c2 ... c5 (strides 4 ... 32) are the maps of the blocks.

    Args:
        widths: channels of the four blocks.
        norm: "none" for the authors' network, else one after every convolution.
        dropout: before the fourth block.
    """

    min_size = 39
    dense_exact = True

    def __init__(
        self, widths: tuple[int, int, int, int] = (96, 256, 384, 1024), norm: str = "none", dropout: float = 0.5
    ) -> None:
        super().__init__()
        w1, w2, w3, w4 = widths
        self.block1 = mlpconv(3, w1, 11, 4, 0, norm)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # Caffe's pools round up
        self.block2 = mlpconv(w1, w2, 5, 1, 2, norm)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.block3 = mlpconv(w2, w3, 3, 1, 1, norm)
        self.pool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.dropout = nn.Dropout(dropout)
        self.block4 = mlpconv(w3, w4, 3, 1, 1, norm, layers=2)

        self.stages = {"c2": Stage(w1, 4), "c3": Stage(w2, 8), "c4": Stage(w3, 16), "c5": Stage(w4, 32)}
        self.paths = {
            "c2": ("block1",),  # 54 x 54 for an image of 224
            "c3": ("pool1", "block2"),  # 27 x 27
            "c4": ("pool2", "block3"),  # 13 x 13
            "c5": ("pool3", "dropout", "block4"),  # 6 x 6
        }
        self.region_stages = self.proposal_stages = ("c5",)
        self.window = 6
        self.out_channels = w4
        initialise_weights(self, "he")  # the paper does not say

    def tail_maps(self, windows: Tensor) -> Tensor:
        return windows  # (R, out_channels, h, w): only the mean is left

    def new_classifier(self, num_classes: int) -> nn.Module:
        return conv_classifier(self.out_channels, num_classes)


def nin(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> NiN:
    """Network in Network for ImageNet. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(NiN(norm=norm, dropout=dropout), weights)

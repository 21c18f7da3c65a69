"""VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014), cut before the last max pool for regions.

Keys are torchvision's: `features.N`, and `classifier.0` and `classifier.3` for fc6 and fc7. RoI pooling to 7 x 7 takes
the place of the last max pool (Fast R-CNN, sec. 2.2), so a region's window and a pooled 224 x 224 image are alike.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_as_conv, linear_classifier
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.norms import local_response_norm, norm_layer
from visionkit.backbones.pretrained import initialise

WIDTHS = (64, 128, 256, 512, 512)


class VGG(Backbone):
    """Five blocks of 3x3 convolutions with a max pool after each, then fc6 and fc7.

    Stages c1 ... c5 (strides 1 ... 16) are the last maps of the blocks, pool1 ... pool5 (2 ... 32) those maps pooled.

    Args:
        depths: convolutions in each of the five blocks (the paper's table 1, columns A to E).
        norm: "none" for the paper's network, else one after every convolution.
        dropout: after fc6 and fc7.
        widths: channels of each block.
        hidden: length of fc6 and fc7.
        lrn: local response normalisation after the first convolution (column A-LRN).
        pointwise: the third convolution of a block is 1x1 (column C).
        window: side of what fc6 sees, in cells of 32 pixels; the network is made for images of that side.
    """

    classifier_keys = {"classifier.6.": "linear."}
    dense_exact = True

    def __init__(
        self,
        depths: Sequence[int],
        norm: str = "none",
        dropout: float = 0.5,
        widths: Sequence[int] = WIDTHS,
        hidden: int = 4096,
        lrn: bool = False,
        pointwise: bool = False,
        window: int = 7,
    ) -> None:
        super().__init__()
        make_norm = norm_layer(norm)
        layers: list[nn.Module] = []
        self.stages, self.paths = {}, {}
        channels = 3
        for level, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            first = len(layers)
            for i in range(depth):
                size = 1 if pointwise and i == 2 else 3
                layers.append(nn.Conv2d(channels, width, size, padding=size // 2))
                if norm != "none":
                    layers.append(make_norm(width))
                layers.append(nn.ReLU(inplace=True))
                if lrn and level == 0 and i == 0:
                    layers.append(local_response_norm())
                channels = width
            self.stages[f"c{level + 1}"] = Stage(width, 1 << level)
            self.paths[f"c{level + 1}"] = tuple(f"features.{i}" for i in range(first, len(layers)))
            layers.append(nn.MaxPool2d(2, stride=2))
            self.stages[f"pool{level + 1}"] = Stage(width, 2 << level)
            self.paths[f"pool{level + 1}"] = (f"features.{len(layers) - 1}",)
        self.features = nn.Sequential(*layers)
        self.region_stages = self.proposal_stages = ("c5",)
        self.window, self.resolution = window, 32 * window
        self.out_channels = hidden
        self.dense_stride = 2  # the last max pool
        self.classifier = nn.Sequential(  # fc6 and fc7, under the name of the published keys
            nn.Linear(channels * self.window**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self._initialise()

    def _initialise(self) -> None:
        """As torchvision: He's for convolutions, a normal of deviation 0.01 for the fully connected layers."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                _initialise_linear(module)

    def pool(self, region_map: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(F.max_pool2d(region_map, 2), self.window)  # (B, 512, 7, 7)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.classifier(windows.flatten(1))[:, :, None, None]  # (R, hidden, 1, 1)

    def reduce(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)  # (R, hidden)

    @property
    def dense_window(self) -> int:
        return 2 * self.window

    def dense_tail(self, region_map: Tensor) -> Tensor:
        """Max pool, then fc6 and fc7 as convolutions; wants a map of at least two windows a side, 14 x 14 cells."""
        fc6, relu6, drop6, fc7, relu7, drop7 = self.classifier
        assert isinstance(fc6, nn.Linear) and isinstance(fc7, nn.Linear)
        x = F.max_pool2d(region_map, 2)  # (B, 512, h / 2, w / 2)
        x = drop6(relu6(linear_as_conv(fc6, x, self.window)))  # (B, hidden, h / 2 - 6, w / 2 - 6)
        return drop7(relu7(linear_as_conv(fc7, x, 1)))

    def new_classifier(self, num_classes: int) -> nn.Module:
        head = linear_classifier(self.out_channels, num_classes)
        _initialise_linear(head.get_submodule("linear"))
        return head


def _initialise_linear(linear: nn.Module) -> None:
    assert isinstance(linear, nn.Linear)
    nn.init.normal_(linear.weight, 0, 0.01)
    nn.init.zeros_(linear.bias)


def _published(name: str, depths: Sequence[int], weights: str | None, norm: str, dropout: float) -> VGG:
    """`name` is the network's without norm: torchvision publishes it under that, and as NAME_bn with batch norm."""
    net = VGG(depths, norm, dropout)
    net.weights_url = imagenet.URLS[name if norm == "none" else f"{name}_bn"]
    return initialise(net, weights)


def vgg11(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> VGG:
    """VGG-11 (column A). `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("vgg11", (1, 1, 2, 2, 2), weights, norm, dropout)


def vgg13(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> VGG:
    """VGG-13 (column B). `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("vgg13", (2, 2, 2, 2, 2), weights, norm, dropout)


def vgg11_lrn(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> VGG:
    """VGG-11 with AlexNet's local response normalisation (column A-LRN). `weights`: None or a file.

    It did not help (sec. 4.1); the other columns are without. A `norm` other than "none" comes beside it.
    """
    return initialise(VGG((1, 1, 2, 2, 2), norm, dropout, lrn=True), weights)


def vgg16_c(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> VGG:
    """VGG-16 with three of its convolutions 1x1 (column C). `weights`: None or a file."""
    return initialise(VGG((2, 2, 3, 3, 3), norm, dropout, pointwise=True), weights)


def vgg16(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> VGG:
    """VGG-16 (column D). `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("vgg16", (2, 2, 3, 3, 3), weights, norm, dropout)


def vgg19(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> VGG:
    """VGG-19 (column E). `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("vgg19", (2, 2, 4, 4, 4), weights, norm, dropout)


def vgg11_bn(weights: str | None = None, norm: str = "batch", dropout: float = 0.5) -> VGG:
    """VGG-11 with batch norm after every convolution."""
    return vgg11(weights, norm, dropout)


def vgg11_bn_narrow(
    weights: str | None = None,
    norm: str = "batch",
    dropout: float = 0.5,
    widths: Sequence[int] = (16, 32, 64, 128, 128),
    hidden: int = 256,
    window: int = 3,
) -> VGG:
    """VGG-11 with batch norm at a quarter of its width and for images of 96 pixels: trains from scratch in minutes. No
    published weights exist for it.

    Args:
        widths, hidden, window: see `VGG`.
    """
    net = VGG((1, 1, 2, 2, 2), norm, dropout, widths, hidden, window=window)
    initialise_weights(net, "he")  # the published deviation of 0.01 is for layers that see sixteen times as much
    return initialise(net, weights)


def vgg13_bn(weights: str | None = None, norm: str = "batch", dropout: float = 0.5) -> VGG:
    """VGG-13 with batch norm after every convolution."""
    return vgg13(weights, norm, dropout)


def vgg16_bn(weights: str | None = None, norm: str = "batch", dropout: float = 0.5) -> VGG:
    """VGG-16 with batch norm after every convolution."""
    return vgg16(weights, norm, dropout)


def vgg19_bn(weights: str | None = None, norm: str = "batch", dropout: float = 0.5) -> VGG:
    """VGG-19 with batch norm after every convolution."""
    return vgg19(weights, norm, dropout)

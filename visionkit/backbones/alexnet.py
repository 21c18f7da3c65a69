"""AlexNet (Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012).

Five convolutions with ReLU, max pools that overlap (3x3, stride 2), two fully connected layers with dropout. Cut before
the last max pool, whose place RoI pooling to 6 x 6 takes (Fast R-CNN, sec. 2.2). `alexnet` is the variant of "One weird
trick" (Krizhevsky 2014, one tower, 224 pixels) with torchvision's keys, `alexnet_2012` the paper's at its true input of
227 pixels, `alexnet_bn` a wider one with batch norm.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_as_conv, linear_classifier
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.norms import local_response_norm, norm_layer
from visionkit.backbones.pretrained import initialise

Blocks = Mapping[str, tuple[Stage, Sequence[nn.Module]]]  # by stage: what it is, and the layers that lead to it


class AlexNet(Backbone):
    """The blocks of the trunk in `features`, then fc6 and fc7 in `classifier`.

    Stages c2 ... c4 (strides 4 ... 16) are the last maps of their stride before a pool, c4 the last convolution's (the
    papers' conv5), c5 that map pooled (their pool5); conv3 and conv4 are the two of stride 16 before it.

    Args:
        blocks: the trunk; "c4" is where regions are cut, "c5" the last max pool.
        min_size: the image side that gives c4 the 3 x 3 cells of the last max pool.
        hidden: lengths of fc6 and fc7.
        dropout: of fc6 and fc7.
        dropout_first: before fc6 and before fc7, as torchvision has it; else after each, as the paper.
        initial_std: deviation of normal initial weights, all biases zero; None leaves torch's own start.
    """

    classifier_keys = {"classifier.6.": "linear."}
    dense_exact = True

    def __init__(
        self,
        blocks: Blocks,
        min_size: int,
        hidden: tuple[int, int] = (4096, 4096),
        dropout: float = 0.5,
        dropout_first: bool = False,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.stages, self.paths = {}, {}
        for name, (stage, modules) in blocks.items():
            self.stages[name] = stage
            self.paths[name] = tuple(f"features.{len(layers) + i}" for i in range(len(modules)))
            layers += modules
        self.features = nn.Sequential(*layers)
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 6
        self.min_size = min_size
        self.out_channels = hidden[1]
        self.dense_stride = 2  # the last max pool
        fc6 = [nn.Linear(self.stages["c4"].channels * self.window**2, hidden[0]), nn.ReLU(inplace=True)]
        fc7 = [nn.Linear(hidden[0], hidden[1]), nn.ReLU(inplace=True)]
        if dropout_first:
            tail = [nn.Dropout(dropout), *fc6, nn.Dropout(dropout), *fc7]
        else:
            tail = [*fc6, nn.Dropout(dropout), *fc7, nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*tail)  # fc6 and fc7, under the name of the published keys
        self.initial_std = initial_std
        _normal(self, initial_std)

    def pool(self, region_map: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(F.max_pool2d(region_map, 3, stride=2), self.window)  # (B, C, 6, 6)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.classifier(windows.flatten(1))[:, :, None, None]  # (R, out_channels, 1, 1)

    def reduce(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)  # (R, out_channels)

    @property
    def dense_window(self) -> int:
        return 2 * self.window + 1

    def dense_tail(self, region_map: Tensor) -> Tensor:
        """Max pool, then fc6 and fc7 as convolutions; wants a map of at least 13 x 13 cells."""
        x, window = F.max_pool2d(region_map, 3, stride=2), self.window  # (B, C, h / 2, w / 2)
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                x, window = linear_as_conv(layer, x, window), 1  # (B, hidden, h / 2 - 5, w / 2 - 5)
            else:
                x = layer(x)
        return x

    def new_classifier(self, num_classes: int) -> nn.Module:
        head = linear_classifier(self.out_channels, num_classes)
        _normal(head, self.initial_std)
        return head


def _normal(module: nn.Module, std: float | None) -> None:
    for layer in module.modules():
        if std is not None and isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def conv_relu(
    channels: int, out: int, size: int, norm: str, stride: int = 1, pad: int = 0, groups: int = 1
) -> list[nn.Module]:
    """Convolution, norm unless it is "none", ReLU."""
    make_norm = norm_layer(norm)
    conv = nn.Conv2d(channels, out, size, stride=stride, padding=pad, groups=groups, bias=norm == "none")
    return [conv, *([] if norm == "none" else [make_norm(out)]), nn.ReLU(inplace=True)]


def alexnet_blocks(widths: Sequence[int], norm: str, pad: int = 0, groups: int = 1, lrn: bool = False) -> Blocks:
    """The trunk's layers.

    Args:
        widths: channels of the five convolutions.
        pad: of the first convolution: 0 for images of 227 pixels, 2 for 224.
        groups: 2 splits the second, fourth and fifth convolution into two streams.
        lrn: local response normalisation after the first two.
    """
    w1, w2, w3, w4, w5 = widths
    norms = [[local_response_norm()] if lrn else [] for _ in range(2)]
    conv1 = conv_relu(3, w1, 11, norm, stride=4, pad=pad)
    conv2 = conv_relu(w1, w2, 5, norm, pad=2, groups=groups)
    conv3 = conv_relu(w2, w3, 3, norm, pad=1)
    conv4 = conv_relu(w3, w4, 3, norm, pad=1, groups=groups)
    conv5 = conv_relu(w4, w5, 3, norm, pad=1, groups=groups)
    return {
        "c2": (Stage(w1, 4), [*conv1, *norms[0]]),  # 55 x 55 for an image of 227 (with pad 2, of 224)
        "c3": (Stage(w2, 8), [nn.MaxPool2d(3, stride=2), *conv2, *norms[1]]),  # 27 x 27
        "conv3": (Stage(w3, 16), [nn.MaxPool2d(3, stride=2), *conv3]),  # 13 x 13
        "conv4": (Stage(w4, 16), conv4),  # 13 x 13
        "c4": (Stage(w5, 16), conv5),  # 13 x 13
        "c5": (Stage(w5, 32), [nn.MaxPool2d(3, stride=2)]),  # 6 x 6
    }


def alexnet(weights: str | None = None, norm: str = "none", dropout: float = 0.5) -> AlexNet:
    """Torchvision's AlexNet. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = AlexNet(alexnet_blocks((64, 192, 384, 256, 256), norm, pad=2), 63, dropout=dropout, dropout_first=True)
    net.weights_url = imagenet.URLS["alexnet"] if norm == "none" else ""
    return initialise(net, weights)


def alexnet_2012(
    weights: str | None = None, norm: str = "none", dropout: float = 0.5, two_stream: bool = True
) -> AlexNet:
    """The network of the paper, its initial weights too (sec. 5). `weights`: None or a file.

    The local response norms sum over neighbours of both streams, as Caffe's do; a `norm` other than "none" comes after
    each convolution beside them. The paper's pixels are 0 ... 255 less their mean, about 58 times ours.

    Args:
        two_stream: the second, fourth and fifth convolution see only the maps on their own GPU, a half (sec. 3.5).
    """
    blocks = alexnet_blocks((96, 256, 384, 384, 256), norm, groups=2 if two_stream else 1, lrn=True)
    net = AlexNet(blocks, 67, dropout=dropout, initial_std=0.01)
    net.resolution = 227
    convs = [layer for layer in net.features if isinstance(layer, nn.Conv2d)]
    hidden = [layer for layer in net.classifier if isinstance(layer, nn.Linear)]
    for bias in (convs[1].bias, convs[3].bias, convs[4].bias, *(layer.bias for layer in hidden)):
        if bias is not None:
            nn.init.ones_(bias)  # so that their ReLUs start with positive inputs
    return initialise(net, weights)


def alexnet_bn(weights: str | None = None, norm: str = "batch", dropout: float = 0.5) -> AlexNet:
    """Wider, with batch norm after every convolution and He's initial weights. `weights`: None or a file."""
    net = AlexNet(alexnet_blocks((96, 256, 512, 1024, 1024), norm), 67, (3072, 4096), dropout)
    net.resolution = 227
    initialise_weights(net, "he")
    return initialise(net, weights)

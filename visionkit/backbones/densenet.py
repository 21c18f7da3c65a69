"""DenseNet-BC (Huang et al., "Densely Connected Convolutional Networks", 2016), cut after block 3 for regions.

Every layer sees the maps of all layers before it in its block, concatenated, and adds `growth` channels to them.
Norm and ReLU come before each convolution. Keys are torchvision's: `features.denseblock1.denselayer1.norm1.weight`;
the published files call it `norm.1`, and both are read.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise


class DenseLayer(nn.Module):
    """1x1 down to four times the growth, then 3x3 (the "B" of BC, sec. 3): maps of all layers before -> growth more."""

    def __init__(self, channels: int, growth: int, norm: str, dropout: float) -> None:
        super().__init__()
        bias, make_norm = norm == "none", norm_layer(norm)
        self.norm1 = make_norm(channels)
        self.relu1 = nn.ReLU(inplace=norm != "none")  # without a norm its input is what later layers see
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=bias)
        self.norm2 = make_norm(4 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.relu1(self.norm1(x)))  # (B, 4 * growth, h, w)
        return self.dropout(self.conv2(self.relu2(self.norm2(x))))  # (B, growth, h, w)


class DenseBlock(nn.ModuleDict):
    """Layers that hand on their input beside their output: (B, C, h, w) -> (B, C + depth * growth, h, w)."""

    def __init__(self, channels: int, depth: int, growth: int, norm: str, dropout: float) -> None:
        super().__init__(
            {
                f"denselayer{i + 1}": DenseLayer(channels + i * growth, growth, norm, dropout)  # keys count from 1
                for i in range(depth)
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat((x, layer(x)), dim=1)
        return x


def transition(channels: int, norm: str) -> nn.Sequential:
    """Half the channels (the "C" of BC, compression 0.5) and half the side."""
    layers: dict[str, nn.Module] = {
        "norm": norm_layer(norm)(channels),
        "relu": nn.ReLU(inplace=norm != "none"),  # without a norm its input is a stage's map
        "conv": nn.Conv2d(channels, channels // 2, 1, bias=norm == "none"),
        "pool": nn.AvgPool2d(2, stride=2),
    }
    return nn.Sequential(OrderedDict(layers))


class DenseNet(Backbone):
    """Stem, four dense blocks with transitions between them, a last norm and ReLU.

    Stages c2, c3, c4 are the blocks' outputs, before any ReLU; c1 and c5 come after one.

    Args:
        growth: channels that each layer adds (k in the paper).
        depths: layers in each of the four blocks.
        width: channels of the stem.
        norm: "batch", "frozen", "group" or "none", used everywhere.
        dropout: after every 3x3 convolution (sec. 4.2: 0.2 where the data are not augmented).
    """

    classifier_keys = {"classifier.": "linear."}
    renamed_keys = ((r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),)
    min_size = 29  # the transitions' pools round down

    def __init__(
        self,
        growth: int = 32,
        depths: Sequence[int] = (6, 12, 24, 16),
        width: int = 64,
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(3, width, 7, stride=2, padding=3, bias=norm == "none"),
            "norm0": norm_layer(norm)(width),
            "relu0": nn.ReLU(inplace=True),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        self.stages = {"c1": Stage(width, 2)}
        self.paths = {"c1": ("features.conv0", "features.norm0", "features.relu0")}
        channels, before = width, ["pool0"]
        for i, depth in enumerate(depths):
            layers[f"denseblock{i + 1}"] = DenseBlock(channels, depth, growth, norm, dropout)
            channels += depth * growth
            self.stages[f"c{i + 2}"] = Stage(channels, 4 << i)
            self.paths[f"c{i + 2}"] = tuple(f"features.{name}" for name in (*before, f"denseblock{i + 1}"))
            if i + 1 < len(depths):
                layers[f"transition{i + 1}"] = transition(channels, norm)
                channels, before = channels // 2, [f"transition{i + 1}"]
        layers["norm5"] = norm_layer(norm)(channels)
        layers["relu5"] = nn.ReLU(inplace=True)
        self.features = nn.Sequential(OrderedDict(layers))
        self.paths["c5"] += ("features.norm5", "features.relu5")
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.out_channels = channels
        self.dense_stride = 2  # transition 3
        initialise_weights(self, "he")

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.through("c5", windows)  # (R, out_channels, h // 2, w // 2)

    def new_classifier(self, num_classes: int) -> nn.Module:
        head = linear_classifier(self.out_channels, num_classes)
        nn.init.zeros_(head.get_parameter("linear.bias"))
        return head


def _published(name: str, net: DenseNet, weights: str | None) -> DenseNet:
    net.weights_url = imagenet.URLS[name]
    return initialise(net, weights)


def densenet121(weights: str | None = None, norm: str = "batch", dropout: float = 0.0) -> DenseNet:
    """DenseNet-121. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("densenet121", DenseNet(32, (6, 12, 24, 16), 64, norm, dropout), weights)


def densenet161(weights: str | None = None, norm: str = "batch", dropout: float = 0.0) -> DenseNet:
    """DenseNet-161, the one with growth 48. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("densenet161", DenseNet(48, (6, 12, 36, 24), 96, norm, dropout), weights)


def densenet169(weights: str | None = None, norm: str = "batch", dropout: float = 0.0) -> DenseNet:
    """DenseNet-169. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("densenet169", DenseNet(32, (6, 12, 32, 32), 64, norm, dropout), weights)


def densenet201(weights: str | None = None, norm: str = "batch", dropout: float = 0.0) -> DenseNet:
    """DenseNet-201. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _published("densenet201", DenseNet(32, (6, 12, 48, 32), 64, norm, dropout), weights)

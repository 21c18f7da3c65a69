"""GoogLeNet (Szegedy et al., "Going Deeper with Convolutions", 2014): nine inception modules, a mean, one linear layer.

`googlenet` is torchvision's form, whose keys and weights it takes: batch norm, and 3x3 filters where the paper has
5x5. `googlenet_2014` is the paper's table 1. Both train with two auxiliary classifiers beside the trunk (sec. 5).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.inception import ConvNormReLU, Inception
from visionkit.backbones.norms import local_response_norm
from visionkit.backbones.pretrained import initialise


class GoogLeNet(Backbone):
    """Stages by module, inception3a ... inception5b, and by level: c3, c4, c5 are 3b, 4e, 5b under a second name.

    Args:
        norm: after every convolution; "none" gives them biases.
        dropout: before the classifier's linear layer.
        aux_dropout: between the two linear layers of the auxiliary classifiers.
        fives_size: side of the filters in the third branch: 5 in the paper, 3 in torchvision's weights.
    """

    classifier_keys = {"fc.": "linear."}
    aux_keys = {"aux1.": "inception4a.", "aux2.": "inception4d."}
    min_size = 15  # the pools, which take no less than 2 x 2, are then left with one cell

    def __init__(
        self, norm: str = "batch", dropout: float = 0.2, aux_dropout: float = 0.7, fives_size: int = 3
    ) -> None:
        super().__init__()
        self.norm, self.dropout, self.aux_dropout = norm, dropout, aux_dropout
        self.conv1 = ConvNormReLU(3, 64, 7, stride=2, norm=norm)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = ConvNormReLU(64, 64, 1, norm=norm)
        self.conv3 = ConvNormReLU(64, 192, 3, norm=norm)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32, norm, fives_size)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64, norm, fives_size)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64, norm, fives_size)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64, norm, fives_size)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64, norm, fives_size)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64, norm, fives_size)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128, norm, fives_size)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128, norm, fives_size)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128, norm, fives_size)

        self.stages = {"c1": Stage(64, 2), "c2": Stage(192, 4)}
        self.paths = {"c1": ("conv1",), "c2": ("maxpool1", "conv2", "conv3")}
        for level, letters in ((3, "ab"), (4, "abcde"), (5, "ab")):
            for letter in letters:
                name = f"inception{level}{letter}"
                self.stages[name] = Stage(getattr(self, name).out_channels, 1 << level)
                self.paths[name] = (f"maxpool{level - 1}", name) if letter == "a" else (name,)
            self.stages[f"c{level}"], self.paths[f"c{level}"] = self.stages[name], ()
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.out_channels = 1024
        self.dense_stride = 2
        if norm == "group":
            self.min_size = 47  # a group of one channel needs more than one cell in 5a
        self._initialise(self)

    def _initialise(self, module: nn.Module) -> None:
        """Torchvision's with norms; else what the authors of Caffe's release chose, since the paper does not say:
        weights of variance 1 / fan in, and biases of 0.2, so that every ReLU starts open."""
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                if self.norm != "none":
                    nn.init.trunc_normal_(layer.weight, std=0.01)
                else:
                    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.constant_(layer.bias, 0.2)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.inception5b(self.inception5a(self.maxpool4(windows)))  # (R, 1024, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        head = linear_classifier(self.out_channels, num_classes, self.dropout)
        self._initialise(head)
        return head

    def new_aux_classifiers(self, num_classes: int) -> nn.ModuleDict:
        """Training adds their losses with weight 0.3 (sec. 5)."""
        heads = nn.ModuleDict()
        for name in ("inception4a", "inception4d"):
            channels = self.stages[name].channels
            heads[name] = AuxClassifier(channels, num_classes, self.norm, self.aux_dropout, self._aux_pool())
        self._initialise(heads)
        return heads

    def _aux_pool(self) -> nn.Module:
        return nn.AdaptiveAvgPool2d(4)  # torchvision's


class GoogLeNet2014(GoogLeNet):
    """Table 1: 5x5 filters, a last max pool of 3x3, and fig. 3's local response norms beside the first two pools."""

    min_size = 31  # the last pool takes no less than 2 x 2 either

    def __init__(self, norm: str = "none", dropout: float = 0.4, aux_dropout: float = 0.7) -> None:
        super().__init__(norm, dropout, aux_dropout, fives_size=5)
        self.norm1, self.norm2 = local_response_norm(), local_response_norm()
        self.maxpool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        if norm == "group":
            self.min_size = 63
        self.paths = {**self.paths, "c2": ("maxpool1", "norm1", "conv2", "conv3", "norm2")}

    def _aux_pool(self) -> nn.Module:
        return OverlappingMeans()


class OverlappingMeans(nn.Module):
    """Means of 5 x 5 cells at stride 3, of which a 14 x 14 map has 4 x 4 (sec. 5); other maps are resized to 4 x 4."""

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) > 5:
            x = F.avg_pool2d(x, 5, 3)  # (B, C, (h - 2) // 3, (w - 2) // 3)
        return F.adaptive_avg_pool2d(x, 4)  # (B, C, 4, 4)


class AuxClassifier(nn.Module):
    """Small classifier on a middle stage: pool to 4 x 4, 128 1x1 filters, two linear layers (sec. 5)."""

    def __init__(self, channels: int, num_classes: int, norm: str, dropout: float, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.conv = ConvNormReLU(channels, 128, 1, norm=norm)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x))  # (B, 128, 4, 4)
        x = self.relu(self.fc1(x.flatten(1)))  # (B, 1024)
        return self.fc2(self.dropout(x))  # (B, num_classes)


def googlenet(
    weights: str | None = None, norm: str = "batch", dropout: float = 0.2, aux_dropout: float = 0.7
) -> GoogLeNet:
    """Torchvision's GoogLeNet. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`.

    The published weights want pixels in -1 ... 1. Torchvision turns its usual normalisation into that inside the
    network (`transform_input`); here the network's mean and std say so, and nothing is turned.
    """
    net = GoogLeNet(norm, dropout, aux_dropout)
    net.mean = net.std = (0.5, 0.5, 0.5)
    net.weights_url = imagenet.URLS["googlenet"]
    return initialise(net, weights)


def googlenet_2014(
    weights: str | None = None, norm: str = "none", dropout: float = 0.4, aux_dropout: float = 0.7
) -> GoogLeNet2014:
    """The paper's GoogLeNet. `weights`: None or a file; no published ones have these keys."""
    return initialise(GoogLeNet2014(norm, dropout, aux_dropout), weights)

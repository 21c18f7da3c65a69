"""A multilayer perceptron on the pixels, the baseline of every digit study: no place of the image is like another.

The image, brought to `resolution` x `resolution`, is one vector; then hidden layers with ReLU. Without hidden layers
the vector is the pixels themselves, for heads that are fitted to them (k nearest neighbours, a linear SVM).
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.errors import ConfigError

CHANNELS = {"rgb": 3, "gray": 1}
MEANS, STDS = {"rgb": IMAGENET_MEAN, "gray": (0.1307,)}, {"rgb": IMAGENET_STD, "gray": (0.3081,)}  # gray: of MNIST


class Patches(nn.Module):
    """Every window as one vector: (B, C, h, w) -> (B, C * side * side, h - side + 1, w - side + 1)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, maps: Tensor) -> Tensor:
        places = [length - self.side + 1 for length in maps.shape[2:]]
        return F.unfold(maps, self.side).unflatten(2, places)


class MLP(Backbone):
    """Pixels, pooled to the window, then fully connected layers.

    Stage c0 is the image, c1 the last hidden layer. The first layer is written as a convolution as large as the window,
    the others as 1 x 1, so the tail runs densely over larger maps as it is (FCN, sec. 3.1).

    Args:
        hidden: lengths of the hidden layers; none at all leaves the pixels, (C * resolution ** 2) numbers.
        resolution: side that an image is brought to, and the least that it takes, in pixels.
        color: "rgb", or "gray" for one number a pixel.
        dropout: after every hidden layer.
        norm: before every ReLU: "none", "batch" (of at least two images), "frozen" or "group".
    """

    def __init__(
        self,
        hidden: Sequence[int] = (256,),
        resolution: int = 32,
        color: str = "rgb",
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        if not all(isinstance(width, int) and not isinstance(width, bool) and width > 0 for width in hidden):
            raise ConfigError(f"hidden={list(hidden)}: the hidden layers of an MLP are whole numbers such as [256,128]")
        if color not in CHANNELS:
            raise ConfigError(f"color={color}: an MLP sees rgb or gray")
        if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 2:
            raise ConfigError(f"resolution={resolution}: an MLP's is a whole number of at least 2")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout={dropout}: a number from 0 to below 1 is wanted")
        make_norm, channels = norm_layer(norm), CHANNELS[color]
        self.color, self.mean, self.std = color, MEANS[color], STDS[color]
        self.resolution = self.min_size = self.window = resolution
        self.dense_exact = norm != "group"  # whose statistics are those of all places together
        self.pixels = nn.Identity()
        layers: list[nn.Module] = []
        width, side = channels, resolution
        for wider in hidden:
            layers += [nn.Conv2d(width, wider, side, bias=norm == "none"), make_norm(wider), nn.ReLU(inplace=True)]
            layers += [nn.Dropout(dropout)] if dropout else []
            width, side = wider, 1
        self.layers = nn.Sequential(*(layers or [Patches(resolution)]))

        self.out_channels = width if hidden else channels * resolution**2
        self.stages = {"c0": Stage(channels, 1), "c1": Stage(self.out_channels, 1)}
        self.paths = {"c0": ("pixels",), "c1": ("layers",)}
        self.region_stages = self.proposal_stages = ("c0",)
        initialise_weights(self, "he")

    def pool(self, region_map: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(region_map, self.window)  # (B, C, w, w)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.layers(windows)  # (R, out_channels, h - w + 1, w' - w + 1)

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def mlp(
    weights: str | None = None,
    norm: str = "none",
    hidden: Sequence[int] = (256,),
    resolution: int = 32,
    color: str = "rgb",
    dropout: float = 0.0,
) -> MLP:
    """The perceptron. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(MLP(hidden, resolution, color, dropout, norm), weights)

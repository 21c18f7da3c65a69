"""A small network whose filters are used in four rotations, and its plain twin (Cohen and Welling, "Group Equivariant
Convolutional Networks", 2016, sec. 8.1: P4CNN and Z2CNN).

Six 3x3 convolutions, a norm and a ReLU after each, a 2x2 max pool after every two of them. In the p4 network the maps
turn with the image up to the end of c2, where the largest over the rotations is taken; then the mean over places, so
that the class scores of a picture and of the picture turned by a quarter are the same. It holds for square pictures
whose side is a multiple of 4; a pool that drops a row is not turned with the picture.

The p4 network has half the channels, in four rotations each: every one of its filters sees four times `width` maps, so
that both have the same number of weights in a layer but the first, and the p4 network four times the multiply-adds.
Other than the paper's: six layers, not seven; padded; a mean over places, not a convolution as large as the map, since
a tail takes maps of any size here; no dropout.
"""

from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.mlp import CHANNELS, MEANS, STDS
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.p4_layers import GroupConv, LiftingConv, PoolRotations, SharedNorm
from visionkit.backbones.pretrained import initialise
from visionkit.errors import ConfigError
from visionkit.ops.p4_conv import TURNS

LEVELS = 3


class P4Cnn(Backbone):
    """Three levels of two convolutions; the third, with the pool over rotations, is a region's tail.

    Stages c0, c1, c2 (strides 1, 2, 4) are the maps of a level: of the p4 network those of all rotations, the channels
    of one after those of another.

    Args:
        width: channels of every layer; of the p4 network in each rotation.
        rotations: whether filters are used in four rotations.
        color: "rgb", or "gray" for one number a pixel.
        norm: "batch", "frozen", "group" or "none". In the p4 network the rotations of a channel share it.
    Raises:
        ConfigError: a width below 1, another colour.
    """

    min_size = 8
    resolution = 32

    def __init__(self, width: int, rotations: bool, color: str = "gray", norm: str = "batch") -> None:
        super().__init__()
        if color not in CHANNELS:
            raise ConfigError(f"color={color}: this network sees rgb or gray")
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise ConfigError(f"width={width}: a whole number of at least 1 is wanted")
        self.color, self.mean, self.std = color, MEANS[color], STDS[color]
        self.stages, self.paths = {}, {}
        channels = CHANNELS[color]
        for level in range(LEVELS):
            names = [f"pool{level}"] if level else []
            if level:
                self.add_module(names[0], nn.MaxPool2d(2))
            for index in (2 * level + 1, 2 * level + 2):
                layers = _p4_layer(channels, width, norm) if rotations else _plain_layer(channels, width, norm)
                # Other names in the plain network, as its weights have another form.
                found = dict(zip((f"{'p4conv' if rotations else 'conv'}{index}", f"norm{index}"), layers, strict=True))
                for name, layer in (found | {f"relu{index}": nn.ReLU(inplace=True)}).items():
                    self.add_module(name, layer)
                    names.append(name)
                channels = width * TURNS if rotations else width
            self.stages[f"c{level}"] = Stage(channels, 1 << level)
            self.paths[f"c{level}"] = tuple(names)
        self.rotations = PoolRotations() if rotations else nn.Identity()
        self.region_stages = self.proposal_stages = ("c1",)
        self.window = 16  # of a 32 x 32 image
        self.out_channels = width
        self.dense_stride = 2
        initialise_weights(self, "he")

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.rotations(self.through("c2", windows))  # (R, width, h / 2, w / 2)

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def _p4_layer(channels: int, width: int, norm: str) -> tuple[nn.Module, nn.Module]:
    """Convolution and norm; an image has no rotations yet."""
    bias = norm == "none"
    if channels != width * TURNS:
        return LiftingConv(channels, width, bias), SharedNorm(width, norm)
    return GroupConv(width, width, bias), SharedNorm(width, norm)


def _plain_layer(channels: int, width: int, norm: str) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, width, 3, padding=1, bias=norm == "none"), norm_layer(norm)(width)


def p4_cnn(weights: str | None = None, norm: str = "batch", width: int = 10, color: str = "gray") -> P4Cnn:
    """Filters in four rotations. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(P4Cnn(width, True, color, norm), weights)


def plain_cnn(weights: str | None = None, norm: str = "batch", width: int = 20, color: str = "gray") -> P4Cnn:
    """Its twin of plain convolutions. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(P4Cnn(width, False, color, norm), weights)

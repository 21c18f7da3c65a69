"""The layer that decoders are made of: a convolution or a transposed one, a norm, ReLU."""

from torch import nn

from visionkit.backbones.norms import Norm, no_norm

Convolution = type[nn.Conv2d] | type[nn.ConvTranspose2d]


def conv_norm_relu(
    channels: int, out: int, norm: Norm, convolution: Convolution = nn.Conv2d, size: int = 3, padding: int = 1
) -> nn.Sequential:
    """(B, channels, h, w) -> (B, out, h', w'), of stride 1: 3x3 and padded by 1 keeps the size.

    He's initial weights; a bias where there is no norm to shift.
    """
    layer = convolution(channels, out, size, padding=padding, bias=norm is no_norm)
    # A transposed kernel is (channels, out, k, k): what feeds one output is what torch takes for its fan out.
    mode = "fan_out" if convolution is nn.ConvTranspose2d else "fan_in"
    nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")  # type: ignore[arg-type]
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, norm(out), nn.ReLU(inplace=True))


def class_scores(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1x1 convolution (B, channels, h, w) -> (B, K, h, w), without a bias to begin with.

    Its weights start as torch starts them. With a deviation of 0.01, as DeconvNet's authors have it, a narrow SegNet
    still called everything background after 60 steps of Adam on four pictures, with each of three seeds; started so,
    two of the three had learnt them.
    """
    layer = nn.Conv2d(channels, num_classes, 1)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer

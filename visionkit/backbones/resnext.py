"""ResNeXt (Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", 2016) and the wide ResNets of
ImageNet (Zagoruyko and Komodakis, "Wide Residual Networks", 2016).

Both are ResNets with another 3x3 convolution in the bottleneck. ResNeXt splits it into groups: a sum of 32 paths with
4 channels each is one convolution in 32 groups (Xie, fig. 3). The wide ones give it twice the channels; the wide ones
of CIFAR are in preact_resnet.py. Keys are torchvision's.
"""

from visionkit.backbones.resnet import ResNet, published
from visionkit.backbones.resnet_blocks import Bottleneck

DEPTHS_50, DEPTHS_101 = (3, 4, 6, 3), (3, 4, 23, 3)


def resnext50_32x4d(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """ResNeXt-50, 32 groups of 4. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _build("resnext50_32x4d", DEPTHS_50, 32, 4, weights, norm, zero_init_residual, drop_path)


def resnext101_32x8d(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """ResNeXt-101, 32 groups of 8. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _build("resnext101_32x8d", DEPTHS_101, 32, 8, weights, norm, zero_init_residual, drop_path)


def resnext101_64x4d(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """ResNeXt-101, 64 groups of 4. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _build("resnext101_64x4d", DEPTHS_101, 64, 4, weights, norm, zero_init_residual, drop_path)


def wide_resnet50_2(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """ResNet-50, twice as wide inside. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _build("wide_resnet50_2", DEPTHS_50, 1, 128, weights, norm, zero_init_residual, drop_path)


def wide_resnet101_2(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """ResNet-101, twice as wide inside. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    return _build("wide_resnet101_2", DEPTHS_101, 1, 128, weights, norm, zero_init_residual, drop_path)


def _build(
    name: str,
    depths: tuple[int, ...],
    groups: int,
    width_per_group: int,
    weights: str | None,
    norm: str,
    zero_init_residual: bool,
    drop_path: float,
) -> ResNet:
    net = ResNet(
        Bottleneck,
        depths,
        norm=norm,
        zero_init_residual=zero_init_residual,
        drop_path=drop_path,
        groups=groups,
        width_per_group=width_per_group,
    )
    return published(name, net, weights)

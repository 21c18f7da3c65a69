"""SE-ResNet and SE-ResNeXt (Hu et al., "Squeeze-and-Excitation Networks", 2017): every block weighs its channels.

Squeeze-and-excitation stands at the end of a block's branch, before the sum (fig. 3), with a 16th of the channels
between its two layers. Everything else is ResNet's or ResNeXt's. Keys are timm's (`seresnet50`): torchvision's for a
ResNet, and `se.fc1`, `se.fc2` in every block.
"""

from typing import Any

from visionkit.backbones.pretrained import initialise
from visionkit.backbones.resnet import ResNet
from visionkit.backbones.resnet_blocks import BasicBlock, Bottleneck

GROUPS_32X4D = {"groups": 32, "width_per_group": 4}


def se_resnet18(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """SE-ResNet-18. `weights`: None or a file; see `pretrained.load_weights`."""
    return _build(BasicBlock, (2, 2, 2, 2), weights, norm, zero_init_residual, drop_path)


def se_resnet34(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """SE-ResNet-34. `weights`: None or a file; see `pretrained.load_weights`."""
    return _build(BasicBlock, (3, 4, 6, 3), weights, norm, zero_init_residual, drop_path)


def se_resnet50(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """SE-ResNet-50. `weights`: None or a file; see `pretrained.load_weights`."""
    return _build(Bottleneck, (3, 4, 6, 3), weights, norm, zero_init_residual, drop_path)


def se_resnet101(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """SE-ResNet-101. `weights`: None or a file; see `pretrained.load_weights`."""
    return _build(Bottleneck, (3, 4, 23, 3), weights, norm, zero_init_residual, drop_path)


def se_resnet152(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """SE-ResNet-152. `weights`: None or a file; see `pretrained.load_weights`."""
    return _build(Bottleneck, (3, 8, 36, 3), weights, norm, zero_init_residual, drop_path)


def se_resnext50_32x4d(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """SE-ResNeXt-50, 32 groups of 4. `weights`: None or a file; see `pretrained.load_weights`."""
    return _build(Bottleneck, (3, 4, 6, 3), weights, norm, zero_init_residual, drop_path, **GROUPS_32X4D)


def se_resnext101_32x4d(
    weights: str | None = None, norm: str = "batch", zero_init_residual: bool = False, drop_path: float = 0.0
) -> ResNet:
    """SE-ResNeXt-101, 32 groups of 4. `weights`: None or a file; see `pretrained.load_weights`."""
    return _build(Bottleneck, (3, 4, 23, 3), weights, norm, zero_init_residual, drop_path, **GROUPS_32X4D)


def _build(
    block: type[BasicBlock] | type[Bottleneck],
    depths: tuple[int, ...],
    weights: str | None,
    norm: str,
    zero_init_residual: bool,
    drop_path: float,
    **options: Any,
) -> ResNet:
    net = ResNet(
        block,
        depths,
        norm=norm,
        zero_init_residual=zero_init_residual,
        drop_path=drop_path,
        squeeze_excite=True,
        **options,
    )
    return initialise(net, weights)

"""ResNet (He et al., "Deep Residual Learning for Image Recognition", 2015), cut at stride 16 for regions.

Keys are torchvision's. The stride of a bottleneck sits in its 3x3 convolution ("v1.5"), as in torchvision's weights,
or in its first 1x1 convolution, as in those of the paper's authors at MSRA that detectron2 starts from.
The blocks are in resnet_blocks.py; resnext.py and se_resnet.py have the networks that differ in the block only.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import IMAGENET_STD, Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.drop_path import linear_rule
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.backbones.resnet_blocks import BasicBlock, Bottleneck, he_normal_, zero_last_norms_
from visionkit.errors import ConfigError


class ResNet(Backbone):
    """Stem, four groups of residual blocks; the fourth is the tail of a region as well as stage c5.

    Args:
        block: BasicBlock or Bottleneck.
        depths: blocks in each of the four groups.
        widths: width of each group (before a bottleneck's expansion); the stem has the first.
        norm: "batch", "frozen", "group" or "none", used everywhere.
        zero_init_residual: start every block as its shortcut (Goyal et al. 2017, sec. 5.1).
        drop_path: probability to drop the last block's branch in training; it rises linearly from the first block.
        dilation: above 1 the fourth group keeps its input's stride of 16, and all its 3x3 convolutions (of Bottlenecks)
            are dilated by so much: as wide a view on maps twice as fine (DC5).
        output_stride: 16 or 8 keep the last group's map, or the last two, at that stride: what would have been skipped
            is reached by dilation, so that the weights of the undilated network serve (Yu et al., "Dilated Residual
            Networks", 2017, sec. 2, as in torchvision).
        std: of the pixels 0 ... 1 that the weights are for; None is ImageNet's. 1/255 for pixels 0 ... 255 less their
            mean.
        options: of every block: `squeeze_excite`, and `groups`, `width_per_group` and `stride_in_1x1` of a Bottleneck.
    """

    classifier_keys = {"fc.": "linear."}

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        norm: str = "batch",
        zero_init_residual: bool = False,
        drop_path: float = 0.0,
        dilation: int = 1,
        output_stride: int = 32,
        std: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.std = IMAGENET_STD if std is None else _three(std)
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=norm == "none")
        self.bn1 = norm_layer(norm)(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        outs = [width * block.expansion for width in widths]
        ins = [widths[0], *outs[:3]]
        rates = linear_rule(drop_path, depths)
        strides, firsts, others = _dilations(dilation, output_stride)
        groups = [
            nn.Sequential(
                block(channels, width, stride, norm, rate, **options, **first),
                *(block(width * block.expansion, width, 1, norm, rate, **options, **other) for rate in more),
            )
            for channels, width, stride, (rate, *more), first, other in zip(
                ins, widths, strides, rates, firsts, others, strict=True
            )
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = groups

        totals = (4, 4 * strides[1], 4 * strides[1] * strides[2], 4 * strides[1] * strides[2] * strides[3])
        self.stages = {"c1": Stage(widths[0], 2)} | {f"c{i + 2}": Stage(outs[i], totals[i]) for i in range(4)}
        self.paths = {"c1": ("conv1", "bn1", "relu"), "c2": ("maxpool", "layer1")}
        self.paths |= {f"c{level + 1}": (f"layer{level}",) for level in (2, 3, 4)}
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.out_channels = outs[3]
        self.dense_stride = strides[3]
        he_normal_(self)
        if zero_init_residual:
            zero_last_norms_(self)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.layer4(
            windows
        )  # (R, out_channels, ceil(h / 2), ceil(w / 2)), or (R, out_channels, h, w) if dilated

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def _dilations(dilation: int, output_stride: int) -> tuple[list[int], list[dict[str, int]], list[dict[str, int]]]:
    """Of the four groups: the stride, the options of the first block, those of the others."""
    if output_stride not in (8, 16, 32) or (dilation > 1 and output_stride != 32):
        raise ConfigError(
            f"backbone.output_stride={output_stride}: 8, 16 or 32 is wanted, and 32 with a dilation (DC5)."
        )
    if dilation > 1:
        plain: list[dict[str, int]] = [{}, {}, {}, {"dilation": dilation}]
        return [1, 2, 2, 1], plain, plain
    strides = [1]
    firsts: list[dict[str, int]] = [{}]
    others: list[dict[str, int]] = [{}]
    reached, step = 4, 1
    for _ in range(3):
        before = step
        if reached < output_stride:
            reached *= 2
            strides.append(2)
        else:
            step *= 2
            strides.append(1)
        firsts.append({} if step == 1 else {"dilation": step, "first_dilation": before})
        others.append({} if step == 1 else {"dilation": step})
    return strides, firsts, others


def _three(std: Sequence[float]) -> tuple[float, ...]:
    if len(std) != 3 or any(value <= 0 for value in std):
        raise ConfigError(f"backbone.std has to be three numbers above 0, for red, green and blue, not {list(std)}.")
    return tuple(float(value) for value in std)


def published(name: str, net: ResNet, weights: str | None, own: bool = True) -> ResNet:
    """A network whose ImageNet weights torchvision publishes under `name`, unless they are not its `own`."""
    net.weights_url = imagenet.URLS[name] if own else ""
    return initialise(net, weights)


def resnet18(
    weights: str | None = None,
    norm: str = "batch",
    zero_init_residual: bool = False,
    drop_path: float = 0.0,
    output_stride: int = 32,
) -> ResNet:
    """ResNet-18. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(
        BasicBlock,
        (2, 2, 2, 2),
        norm=norm,
        zero_init_residual=zero_init_residual,
        drop_path=drop_path,
        output_stride=output_stride,
    )
    return published("resnet18", net, weights)


def resnet34(
    weights: str | None = None,
    norm: str = "batch",
    zero_init_residual: bool = False,
    drop_path: float = 0.0,
    output_stride: int = 32,
) -> ResNet:
    """ResNet-34. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(
        BasicBlock,
        (3, 4, 6, 3),
        norm=norm,
        zero_init_residual=zero_init_residual,
        drop_path=drop_path,
        output_stride=output_stride,
    )
    return published("resnet34", net, weights)


def resnet50(
    weights: str | None = None,
    norm: str = "batch",
    zero_init_residual: bool = False,
    drop_path: float = 0.0,
    stride_in_1x1: bool = False,
    dilation: int = 1,
    output_stride: int = 32,
    std: Sequence[float] | None = None,
) -> ResNet:
    """ResNet-50. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`.

    With `stride_in_1x1` and `std` of 1/255 it is MSRA's, for which torchvision's ImageNet weights do not serve.
    """
    net = ResNet(
        Bottleneck,
        (3, 4, 6, 3),
        norm=norm,
        zero_init_residual=zero_init_residual,
        drop_path=drop_path,
        dilation=dilation,
        output_stride=output_stride,
        std=std,
        stride_in_1x1=stride_in_1x1,
    )
    return published("resnet50", net, weights, own=not stride_in_1x1)


def resnet101(
    weights: str | None = None,
    norm: str = "batch",
    zero_init_residual: bool = False,
    drop_path: float = 0.0,
    stride_in_1x1: bool = False,
    dilation: int = 1,
    output_stride: int = 32,
    std: Sequence[float] | None = None,
) -> ResNet:
    """ResNet-101. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`.

    With `stride_in_1x1` and `std` of 1/255 it is MSRA's, for which torchvision's ImageNet weights do not serve.
    """
    net = ResNet(
        Bottleneck,
        (3, 4, 23, 3),
        norm=norm,
        zero_init_residual=zero_init_residual,
        drop_path=drop_path,
        dilation=dilation,
        output_stride=output_stride,
        std=std,
        stride_in_1x1=stride_in_1x1,
    )
    return published("resnet101", net, weights, own=not stride_in_1x1)


def resnet152(
    weights: str | None = None,
    norm: str = "batch",
    zero_init_residual: bool = False,
    drop_path: float = 0.0,
    output_stride: int = 32,
) -> ResNet:
    """ResNet-152. `weights`: None, "imagenet" or a file; see `pretrained.load_weights`."""
    net = ResNet(
        Bottleneck,
        (3, 8, 36, 3),
        norm=norm,
        zero_init_residual=zero_init_residual,
        drop_path=drop_path,
        output_stride=output_stride,
    )
    return published("resnet152", net, weights)


def basic_resnet(
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (1, 1, 1, 1),
    weights: str | None = None,
    norm: str = "batch",
    zero_init_residual: bool = False,
    drop_path: float = 0.0,
) -> ResNet:
    """A narrow trunk of basic blocks that trains from scratch in minutes; no published weights exist for it."""
    net = ResNet(BasicBlock, depths, widths, norm, zero_init_residual, drop_path)
    return initialise(net, weights)

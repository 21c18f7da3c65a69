"""The wiring of semantic segmentation on one page: which maps of a backbone flow into which decoder.

Builders take a finished backbone and plain numbers. Hydra's task files (`configs/task/`) name them as `_target_`.
"""

from collections.abc import Sequence

from torch import nn

from visionkit.backbones.base import Backbone
from visionkit.backbones.norms import norm_layer
from visionkit.errors import ConfigError
from visionkit.heads.deconvnet import DeconvNetHead
from visionkit.heads.fcn import TAIL, DilatedFCNHead, FCNHead, PlainFCNHead
from visionkit.heads.segnet import SegNetHead
from visionkit.heads.unet import UNetHead
from visionkit.models.dense_sizes import check_dense_ranges, dense_resize
from visionkit.models.dense_tail import deepest_map, region_stage, skip_stages, skip_widths
from visionkit.models.pixels import Normalize
from visionkit.models.pooled_blocks import drop_tail, joined_stages, pooled_blocks
from visionkit.models.segmenter import Decoder, Segmenter


def fcn(
    backbone: Backbone,
    num_classes: int,
    *,
    stride: int = 8,
    skips: Sequence[str] | None = None,
    skip_scale: float = 1.0,
    deepest: str = TAIL,
    short: int | None = None,
    long: int | None = None,
) -> Segmenter:
    """A fully convolutional network with skips: FCN-32s, 16s, 8s or finer, on any backbone without a pyramid.

    Args:
        stride: of the finest map that takes part, pixels; from the tail's on it halves to this.
        skips: the stages of the finer maps, from coarse to fine, down to `stride`; by default the first of each stride,
            which is the map that was just pooled (VGG's pool4 and pool3, a ResNet's c4 and c3).
        skip_scale: what the first skip's maps are multiplied by, the second's by its square ...; see `FCNHead`.
        deepest: the map that the scores begin with: "tail", or a stage.
        short, long: sides that pictures are resized to, pixels (see `TestResize`); null leaves them as they are.
    Raises:
        ConfigError: a setting out of its range, or no map of a stride that is wanted.
    """
    check_dense_ranges(locals())
    channels, coarsest = deepest_map(backbone, deepest)
    skips = skip_stages(backbone, coarsest, stride) if skips is None else skips
    widths = skip_widths(backbone, coarsest, skips)
    finest = backbone.stages[skips[-1]].stride if skips else coarsest
    if finest != stride:
        raise ConfigError(
            f"task.skips={list(skips)} end at a stride of {finest}, and task.stride={stride}: set both alike."
        )
    head = FCNHead(channels, widths, num_classes, coarsest, skip_scale, backbone.min_size, deepest)
    if deepest != TAIL:
        drop_tail(backbone, head.stages)
    return _segmenter(backbone, head, num_classes, short, long)


def dilated_fcn(
    backbone: Backbone,
    num_classes: int,
    *,
    aux_weight: float = 0.5,
    dropout: float = 0.1,
    short: int | None = 520,
    long: int | None = None,
) -> Segmenter:
    """torchvision's FCN: a plain head on the last map of a network whose output stride was kept small by dilation
    (backbone.output_stride=8), and one more on the map before it while training.

    Args:
        aux_weight: share of that auxiliary head in the loss; 0 = without one.
        dropout: before the last layer of either head.
        short, long: see `fcn`.
    Raises:
        ConfigError: a setting out of its range, or a network that is not dilated.
    """
    check_dense_ranges(locals())
    channels, stride = deepest_map(backbone, TAIL)
    if stride > 16:
        raise ConfigError(
            f"task=dilated_fcn looks at the last map alone, whose stride is {stride} here: choose a ResNet with "
            "backbone.output_stride=8 (or 16), or task=fcn, which has finer maps beside it."
        )
    inner = region_stage(backbone)
    aux = {inner: PlainFCNHead(backbone.stages[inner].channels, num_classes, dropout)} if aux_weight else {}
    head = DilatedFCNHead(TAIL, channels, num_classes, dropout, backbone.min_size)
    return _segmenter(backbone, head, num_classes, short, long, nn.ModuleDict(aux), aux_weight)


def deconvnet(
    backbone: Backbone,
    num_classes: int,
    *,
    norm: str = "batch",
    short: int | None = None,
    long: int | None = None,
) -> Segmenter:
    """DeconvNet: a VGG with its fully connected layers, and its mirror.

    Args:
        norm: after every layer of the mirror: "batch", "frozen", "group" or "none".
        short, long: see `fcn`.
    Raises:
        ConfigError: a backbone that is no VGG, or a setting out of its range.
    """
    check_dense_ranges(locals())
    blocks = pooled_blocks(backbone)
    hidden, stride = deepest_map(backbone, TAIL)
    deepest = backbone.stages[blocks[-1].pooled].stride
    if not backbone.dense_exact or stride != deepest or region_stage(backbone) != blocks[-1].stage:
        raise ConfigError(
            f"backbone: {type(backbone).__name__} has no fully connected layers after its last pool, which DeconvNet "
            "mirrors: vgg11 ... vgg19 and their kin have them; task=segnet does without."
        )
    widths = {block.stage: block.channels for block in reversed(blocks)}
    depths = [block.depth for block in reversed(blocks)]
    head = DeconvNetHead(hidden, widths, depths, num_classes, backbone.dense_window // 2, norm_layer(norm))
    return _segmenter(backbone, head, num_classes, short, long)


def segnet(
    backbone: Backbone,
    num_classes: int,
    *,
    norm: str = "batch",
    short: int | None = None,
    long: int | None = None,
) -> Segmenter:
    """SegNet: a VGG without its fully connected layers, which are deleted, and its mirror.

    Args:
        norm, short, long: see `deconvnet`.
    Raises:
        ConfigError: a backbone that is no VGG, or a setting out of its range.
    """
    check_dense_ranges(locals())
    blocks = pooled_blocks(backbone)
    widths = {block.stage: block.channels for block in reversed(blocks)}
    depths = [block.depth for block in reversed(blocks)]
    head = SegNetHead(blocks[-1].pooled, widths, depths, num_classes, backbone.min_size, norm_layer(norm))
    drop_tail(backbone, head.stages)
    return _segmenter(backbone, head, num_classes, short, long)


def unet(
    backbone: Backbone,
    num_classes: int,
    *,
    up: str = "transposed",
    widths: Sequence[int] | None = None,
    norm: str = "batch",
    short: int | None = None,
    long: int | None = None,
) -> Segmenter:
    """A U-Net on the last map of each stride of any backbone, or on the maps of a pyramid. A tail that leads to none of
    them is deleted.

    Args:
        up: how maps are enlarged: "transposed" (learnt) or "bilinear".
        widths: channels after each level, from coarse to fine; by default those of the finer map, at most 256.
        norm: after every 3x3 convolution: "batch", "frozen", "group" or "none".
        short, long: see `fcn`.
    Raises:
        ConfigError: a setting out of its range, a backbone with maps of one stride only.
    """
    check_dense_ranges(locals())
    stages = joined_stages(backbone)
    if widths is None:
        widths = [min(stage.channels, 256) for stage in [*stages.values()][1:]]
    if len(widths) != len(stages) - 1:
        raise ConfigError(
            f"task.widths={list(widths)}: {len(stages) - 1} are wanted, one for every map after the first of "
            f"{', '.join(stages)}."
        )
    head = UNetHead(stages, widths, num_classes, backbone.min_size, up, norm_layer(norm))
    drop_tail(backbone, head.stages)
    return _segmenter(backbone, head, num_classes, short, long)


def _segmenter(
    backbone: Backbone,
    decoder: Decoder,
    num_classes: int,
    short: int | None,
    long: int | None,
    aux: nn.ModuleDict | None = None,
    aux_weight: float = 0.5,
) -> Segmenter:
    normalize, resize = Normalize(backbone.mean, backbone.std), dense_resize(short, long)
    return Segmenter(backbone, decoder, normalize, resize, num_classes, aux, aux_weight)

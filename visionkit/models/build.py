"""All the wiring on one page: where channels, strides and windows flow from a backbone into heads.

Builders take a finished backbone and plain numbers. Hydra's task files (`configs/task/`) name them as `_target_`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch

from visionkit.backbones.base import Backbone
from visionkit.backbones.norms import norm_layer
from visionkit.errors import ConfigError
from visionkit.heads.box import BoxHead
from visionkit.heads.fixed_boxes import FixedBoxesHead
from visionkit.heads.hard_negatives import HardNegativeHead
from visionkit.heads.linear_svm import LinearSVM
from visionkit.heads.localize import FlattenMaps, LocalizeHead
from visionkit.heads.mask import MaskHead
from visionkit.heads.nearest import NearestNeighbours
from visionkit.heads.rpn import RPNHead
from visionkit.heads.svm_box import SVMBoxHead, SVMScores
from visionkit.models.box_list import BoxList
from visionkit.models.cascade import CascadeDetector
from visionkit.models.classifier import Classifier
from visionkit.models.compress import low_rank
from visionkit.models.dense import Crops, Dense
from visionkit.models.encode import Pool
from visionkit.models.given import Given, Search
from visionkit.models.localizer import Localizer
from visionkit.models.own_trunk import OwnTrunkRPN
from visionkit.models.pixels import Normalize
from visionkit.models.propose import RPN
from visionkit.models.ranges import check_ranges
from visionkit.models.region_detector import RegionDetector
from visionkit.models.sample import RegionSampler
from visionkit.models.sliding_windows import Windows, window_pyramid
from visionkit.models.stride_rpn import StrideRPN
from visionkit.models.warp import Warp
from visionkit.models.whole_image import tail_shape, window_tail_shape
from visionkit.models.window_sampler import WindowSampler
from visionkit.ops.anchors import caffe_anchors, cell_anchors
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.resize import TestResize
from visionkit.ops.square_resize import SquareResize

FITTED_HEADS = {"svm": LinearSVM, "nearest": NearestNeighbours}


def rpn(
    backbone: Backbone,
    *,
    anchor_sizes: Sequence[Sequence[float]] | None = None,
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    legacy_anchors: bool = False,
    anchor_rounding: Literal["round", "none"] = "round",
    anchor_pitch: Literal["canvas", "stride"] = "canvas",
    hidden: int | None = None,
    convs: int = 1,
    train_top: tuple[int, int] = (2000, 2000),
    test_top: tuple[int, int] = (1000, 1000),
    min_side: float = 1e-3,
    samples: int = 256,
    beta: float = 1 / 9,
) -> RPN:
    """A region proposal network on the backbone's proposal stages.

    Args:
        anchor_sizes: per stage, the square roots of the anchors' areas in pixels. By default 8 strides on each level
            of a pyramid (32 ... 512 on p2 ... p6), and 32 ... 512 together on a single map.
        legacy_anchors: the nine anchors of the Caffe code on a single map of stride 16.
        anchor_rounding: whether corners are whole pixels, as torchvision's are, or not, as detectron2's.
        anchor_pitch: from one cell's anchors to the next's: torchvision's rule (`RPN.anchors`), or the map's stride
            (`StrideRPN`), as in detectron2.
    """
    stages = [backbone.stages[name] for name in backbone.proposal_stages]
    sizes_given = anchor_sizes is not None
    if anchor_sizes is None:
        anchor_sizes = [[8.0 * s.stride] for s in stages] if len(stages) > 1 else [[32, 64, 128, 256, 512]]
    if len(anchor_sizes) != len(stages):
        raise ConfigError(
            f"anchor_sizes has {len(anchor_sizes)} lists for the {len(stages)} proposal stages "
            f"{', '.join(backbone.proposal_stages)}; give one list of sizes for each"
        )
    if legacy_anchors:
        if sizes_given:
            raise ConfigError("legacy_anchors come with their own sizes: leave anchor_sizes out")
        if len(stages) != 1 or stages[0].stride != 16:
            raise ConfigError("legacy_anchors need a single proposal stage of stride 16")
        # Inclusive pixels counted from 0, as the released models computed them, made continuous.
        cells = [caffe_anchors(first_pixel=0) + torch.tensor([0.0, 0.0, 1.0, 1.0])]
    else:
        cells = [cell_anchors(sizes, anchor_ratios, anchor_rounding) for sizes in anchor_sizes]
    counts, channels = {len(cell) for cell in cells}, {stage.channels for stage in stages}
    if len(counts) > 1 or len(channels) > 1:
        raise ConfigError("one RPN head serves all levels: each needs the same number of anchors and of channels")
    make: Callable[..., RPN] = RPN
    if anchor_pitch == "stride":
        make = partial(StrideRPN, strides=[stage.stride for stage in stages])
    return make(
        RPNHead(channels.pop(), counts.pop(), hidden, convs),
        backbone.proposal_stages,
        cells,
        train_top=train_top,
        test_top=test_top,
        min_side=min_side,
        samples=samples,
        beta=beta,
    )


def faster_rcnn(
    backbone: Backbone,
    num_classes: int,
    *,
    short: int = 800,
    long: int = 1333,
    anchor_sizes: Sequence[Sequence[float]] | None = None,
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    legacy_anchors: bool = False,
    anchor_rounding: Literal["round", "none"] = "round",
    anchor_pitch: Literal["canvas", "stride"] = "canvas",
    rpn_hidden: int | None = None,
    rpn_convs: int = 1,
    rpn_train_top: tuple[int, int] = (2000, 2000),
    rpn_test_top: tuple[int, int] = (1000, 1000),
    rpn_min_side: float = 1e-3,
    rpn_samples: int = 256,
    rpn_beta: float = 1 / 9,
    pooling: Literal["align", "pool"] = "align",
    sampling: int = 2,
    aligned: bool = False,
    regions: int = 512,
    positive_fraction: float = 0.25,
    box_beta: float = 1 / 9,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    max_detections: int = 100,
    class_agnostic: bool = False,
    box_regression: Literal["smooth_l1", "giou"] = "smooth_l1",
    suppression: Literal["nms", "soft"] = "nms",
    cascade: Sequence[float] | None = None,
    alternating: bool = False,
    ranks: Sequence[int] | None = None,
) -> RegionDetector:
    """Faster R-CNN (Ren et al. 2015) on any backbone: C4 when its region stage is c4, FPN when it is a pyramid.

    Defaults are torchvision's for R50-FPN. `short` and `long` bound the sides of test images in pixels.

    Args:
        class_agnostic, box_regression, suppression: see `BoxHead`.
        cascade: the IoU from which each stage's regions are foreground, such as (0.5, 0.6, 0.7); None for one stage
            (see `CascadeDetector`; wants a pyramid and class-agnostic boxes).
        alternating: the RPN starts on a trunk of its own, for the 4-step training (phases=four_step).
        ranks: of the fully connected layers as two thin ones (`models.compress`); None leaves them whole.

    Raises ConfigError for a setting out of its range (`models.ranges`), or one that does not go with the backbone.
    """
    check_ranges(locals())
    proposer = rpn(
        backbone,
        anchor_sizes=anchor_sizes,
        anchor_ratios=anchor_ratios,
        legacy_anchors=legacy_anchors,
        anchor_rounding=anchor_rounding,
        anchor_pitch=anchor_pitch,
        hidden=rpn_hidden,
        convs=rpn_convs,
        train_top=rpn_train_top,
        test_top=rpn_test_top,
        min_side=rpn_min_side,
        samples=rpn_samples,
        beta=rpn_beta,
    )
    new_head = partial(
        BoxHead,
        backbone.out_channels,
        num_classes,
        beta=box_beta,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
        regression=box_regression,
        suppression=suppression,
    )
    normalize = Normalize(backbone.mean, backbone.std)
    propose = OwnTrunkRPN(proposer, backbone, normalize) if alternating else proposer
    if ranks is not None:
        low_rank(backbone, ranks)
    encode = Pool(backbone, normalize, method=pooling, sampling=sampling, aligned=aligned)
    resize = TestResize(short, long)
    if cascade is None:
        sample = RegionSampler(num_classes, regions, positive_fraction)
        return RegionDetector(propose, encode, sample, new_head(), resize)
    samplers = [RegionSampler(num_classes, regions, positive_fraction, high=high) for high in cascade]
    # Later stages start nearer to the truth, so their deltas are smaller (Cascade R-CNN, sec. 4.1).
    heads = [new_head(stds=(0.1 / n, 0.1 / n, 0.2 / n, 0.2 / n)) for n in range(1, len(samplers) + 1)]
    return CascadeDetector(propose, encode, samplers, heads, resize)


def mask_rcnn(
    backbone: Backbone,
    num_classes: int,
    *,
    mask_input: Literal["windows", "tail"] | None = None,
    mask_window: int = 14,
    mask_layers: Sequence[int] | None = None,
    mask_hidden: int = 256,
    mask_norm: str = "none",
    **boxes: Any,
) -> RegionDetector:
    """Mask R-CNN (He et al. 2017): Faster R-CNN that says of each box which of its pixels are the object.

    Args:
        mask_input: what the mask head sees: "windows" of the maps, as on a pyramid, or the "tail"'s maps of the box
            head's windows, as in ResNet-C4 (fig. 4). None is the tail on one map where it ends in one, else windows.
        mask_window: side of its windows, in cells; masks have twice as many. The tail's maps have a side of their own.
        mask_layers: channels of the 3x3 convolutions; None is four of 256 on windows, none after the tail.
        mask_hidden: channels of the transposed convolution.
        mask_norm: after each 3x3 convolution: batch, frozen, group or none.
        boxes: settings of `faster_rcnn`.
    Raises:
        ConfigError: a setting out of its range, or one that does not go with the backbone.
    """
    check_ranges(locals())
    detector = faster_rcnn(backbone, num_classes, **boxes)
    pyramid = len(backbone.region_stages) > 1
    channels, side = backbone.stages[backbone.region_stages[0]].channels, mask_window
    after_tail = False
    if mask_input == "tail" or (mask_input is None and not pyramid):
        tail_channels, tail_side = window_tail_shape(backbone)
        after_tail = tail_side > 1
        if after_tail:
            channels, side = tail_channels, tail_side
        elif mask_input == "tail":
            raise ConfigError("task.mask_input=tail needs a tail that ends in maps, and this one is fully connected.")
    if mask_layers is None:
        mask_layers = () if after_tail else (256,) * 4
    detector.mask = MaskHead(
        channels,
        num_classes,
        window=side,
        layers=mask_layers,
        hidden=mask_hidden,
        norm=norm_layer(mask_norm),
        after_tail=after_tail,
    )
    return detector


def fast_rcnn(
    backbone: Backbone,
    num_classes: int,
    *,
    proposals: Search | None = None,
    max_proposals: int = 2000,
    short: int = 600,
    long: int = 1000,
    pooling: Literal["align", "pool"] | None = None,
    sampling: int = 2,
    regions: int = 64,
    positive_fraction: float = 0.25,
    background_low: float = 0.1,
    box_beta: float = 1.0,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.3,
    max_detections: int = 100,
    head: Literal["softmax", "svm"] = "softmax",
    class_agnostic: bool = False,
    box_regression: Literal["smooth_l1", "giou"] = "smooth_l1",
    suppression: Literal["nms", "soft"] = "nms",
    ranks: Sequence[int] | None = None,
) -> RegionDetector:
    """Fast R-CNN (Girshick 2015): given proposals, one shared map, softmax and boxes learnt together.

    Defaults are the paper's (sec. 2.3): two images and 128 regions a batch, background from an IoU of 0.1 on.

    Args:
        proposals: the search that `predict` runs on a picture; None where proposals always come with the pictures.
        max_proposals: most proposals taken of an image.
        pooling: "pool" (RoIPool), "align" (RoIAlign); None is pool on one region stage and align on a pyramid.
        regions: of each image in the loss.
        background_low: least IoU of a background region with some object.
        head: what tells the classes: softmax, or linear SVMs fitted to the trained vectors (phases=region_svm).
        class_agnostic, box_regression, suppression, ranks: as in `faster_rcnn`.
    Raises:
        ConfigError: a setting out of its range, or one that does not go with the backbone.
    """
    check_ranges(locals())
    new_head = SVMScores if head == "svm" else BoxHead
    box_head = new_head(
        backbone.out_channels,
        num_classes,
        beta=box_beta,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
        class_agnostic=class_agnostic,
        regression=box_regression,
        suppression=suppression,
    )
    if ranks is not None:
        low_rank(backbone, ranks)
    method = pooling or ("pool" if len(backbone.region_stages) == 1 else "align")
    encode = Pool(backbone, Normalize(backbone.mean, backbone.std), method=method, sampling=sampling)
    sample = RegionSampler(num_classes, regions, positive_fraction, low=background_low)
    return RegionDetector(Given(proposals, max_proposals), encode, sample, box_head, TestResize(short, long))


def rcnn(
    backbone: Backbone,
    num_classes: int,
    *,
    proposals: Search | None = None,
    max_proposals: int = 2000,
    short: int = 600,
    long: int = 1000,
    crop: int | None = None,
    context: float | None = None,
    regions: int = 64,
    positive_fraction: float = 0.25,
    box_input: Literal["maps", "vector"] = "maps",
    score_threshold: float = 0.05,
    nms_threshold: float = 0.3,
    max_detections: int = 100,
) -> RegionDetector:
    """R-CNN (Girshick et al. 2014): given proposals, each warped to a picture of its own; softmax to fine-tune with,
    then SVMs and box regressors (`visionkit.rcnn`, phases=rcnn). Two images of 64 regions make the paper's batch.

    Args:
        proposals, max_proposals: as in `fast_rcnn`.
        crop: side of the warped regions, pixels; by default what the network was designed for.
        context: pixels around the object in the warped region; by default the paper's 16 of 227, in proportion.
        regions: of each image in the loss.
        box_input: what the box regressors see: "maps", those that the tail is fed (pool5), or the tail's "vector".
    Raises:
        ConfigError: a setting out of its range, or one that does not go with the backbone.
    """
    check_ranges(locals())
    side = crop or backbone.resolution
    if side < backbone.min_size:
        raise ConfigError(
            f"task.crop={side}: {type(backbone.innermost()).__name__} takes pictures of at least {backbone.min_size} "
            "pixels a side, and each region is one"
        )
    margin = 16 / 227 * side if context is None else context
    if margin >= side / 2:
        raise ConfigError(f"task.context={context} leaves nothing of a warped region of {side} pixels")
    encode = Warp(backbone, Normalize(backbone.mean, backbone.std), side, margin, with_maps=box_input == "maps")
    head = SVMBoxHead(
        encode.channels,
        encode.map_channels or encode.channels,
        num_classes,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
    )
    sample = RegionSampler(num_classes, regions, positive_fraction)
    return RegionDetector(Given(proposals, max_proposals), encode, sample, head, TestResize(short, long))


def sliding_window(
    backbone: Backbone,
    num_classes: int,
    *,
    short: int = 375,
    long: int = 500,
    scales: Sequence[float] = (0.5, 0.71, 1.0, 1.41, 2.0),
    window: int | None = None,
    fine: bool = True,
    margin: int = 0,
    encoding: Literal["dense", "crops"] = "dense",
    positives: int = 64,
    negatives: int = 2000,
    match_high: float = 0.5,
    match_low: float = 0.4,
    hard_ratio: float = 3.0,
    hard_least: int = 8,
    box_beta: float = 1 / 9,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    max_detections: int = 100,
) -> RegionDetector:
    """A sliding-window detector (OverFeat, Sermanet et al. 2013) on any backbone with one region map.

    Args:
        short, long: bounds of the sides of test images, pixels; the picture at scale 1.
        scales: of the pyramid's levels.
        window: side of a window's box, pixels of a level; None = all that the network sees of it.
        fine: windows at every cell of the region map, by offset max pooling; else at the stride of the whole network.
        margin: zeros around each level beside those that the windows need, pixels.
        encoding: "dense", or "crops": every window by itself, for comparison.
        positives, negatives: candidates of an image in training, drawn at random where there are more.
        match_high, match_low: IoU with an object from which a window is positive, and below which it is negative.
        hard_ratio, hard_least: negatives that the loss keeps, the hardest: for each positive, and in any case.
    Raises:
        ConfigError: a setting out of its range (`models.ranges`), or one that does not go with the backbone.
    """
    check_ranges(locals())
    if match_low > match_high:
        raise ConfigError(f"match_low={match_low} is more than match_high={match_high}.")
    pyramid = window_pyramid(backbone, scales, window, fine, margin)
    normalize = Normalize(backbone.mean, backbone.std)
    head = HardNegativeHead(
        backbone.out_channels,
        num_classes,
        ratio=hard_ratio,
        least=hard_least,
        beta=box_beta,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
    )
    encode = (Dense if encoding == "dense" else Crops)(backbone, normalize, pyramid)
    sample = WindowSampler(num_classes, positives, negatives, match_high, match_low)
    return RegionDetector(Windows(pyramid), encode, sample, head, TestResize(short, long))


def classifier(
    backbone: Backbone,
    num_classes: int,
    *,
    size: int | None = None,
    short: int | None = None,
    aux_weight: float = 0.3,
    label_smoothing: float = 0.0,
    head: Literal["own", "svm", "nearest"] = "own",
) -> Classifier:
    """A backbone with its own head, or with one that is fitted to its vectors (`visionkit.fitted`) and not trained.

    Auxiliary heads are built where the network has them, its own head is trained and `aux_weight` is not 0.

    Args:
        size: side of the square that the network sees, pixels; by default what it was designed for.
        short: the short side that a test image is resized to before the middle is cut out; by default `size` / 0.875
            (256 for 224), and `size` itself below 64 pixels.
        head: the network's own, a linear SVM, or a vote of the nearest training pictures.
    Raises:
        ConfigError: a setting out of its range, or images smaller than the network can take.
    """
    settings = {"size": size, "aux_weight": aux_weight, "label_smoothing": label_smoothing}
    check_ranges(settings if short is None else settings | {"short": short})
    size = size or backbone.resolution
    if short is None:
        short = size if size < 64 else round(size / 0.875)
    _require_size(backbone, size)
    if short < size:
        raise ConfigError(f"task.short={short} is less than the {size} pixels that are cut out of the middle")
    if head not in ("own", *FITTED_HEADS):
        raise ConfigError(f"task.head={head}: the heads are own, {' and '.join(FITTED_HEADS)}")
    own = head == "own"
    return Classifier(
        backbone,
        backbone.new_classifier(num_classes) if own else FITTED_HEADS[head](backbone.out_channels, num_classes),
        Normalize(backbone.mean, backbone.std),
        CenterCrop(short, size),
        backbone.new_aux_classifiers(num_classes) if own and aux_weight else None,
        aux_weight,
        label_smoothing,
    )


def localizer(
    backbone: Backbone,
    num_classes: int,
    *,
    size: int | None = None,
    box_input: Literal["maps", "vector"] = "maps",
    box_hidden: int = 128,
    per_class: bool = False,
    box_loss: Literal["smooth_l1", "l2"] = "smooth_l1",
    box_beta: float = 0.1,
    box_weight: float = 1.0,
) -> Localizer:
    """Classification with one box: a backbone with its own class head, and a box head beside it.

    Args:
        size: side of the square that pictures are stretched to, pixels; by default what the network was designed for.
        box_input: what the box head sees: the tail's maps, cell by cell, or the tail's vector, which is a mean over
            them in most networks and then knows little of places.
        box_hidden: channels of the box head's convolution on the maps.
        per_class: one box for each class in place of one for all.
        box_loss, box_beta: see `LocalizeHead`.
        box_weight: share of the box loss.
    Raises:
        ConfigError: a setting out of its range, or images smaller than the network can take.
    """
    check_ranges(locals())
    size = size or backbone.resolution
    _require_size(backbone, size)
    body = FlattenMaps(*tail_shape(backbone, size), box_hidden) if box_input == "maps" else None
    channels = backbone.out_channels if body is None else body.out_channels
    head = LocalizeHead(body, channels, num_classes if per_class else 1, box_loss, box_beta)
    classes = backbone.new_classifier(num_classes)
    normalize = Normalize(backbone.mean, backbone.std)
    return Localizer(backbone, classes, head, normalize, SquareResize(size), box_weight)


def fixed_boxes(
    backbone: Backbone,
    num_classes: int,
    *,
    size: int | None = None,
    slots: int = 6,
    box_hidden: int = 128,
    box_weight: float = 10.0,
    score_threshold: float = 0.05,
) -> BoxList:
    """Detection as regression of a fixed number of boxes, the lecture's failing baseline (`heads.fixed_boxes`).

    Args:
        size: side of the square that pictures are stretched to, pixels; by default what the network was designed for.
        slots: the most objects that can be found in a picture.
        box_hidden: channels of the head's convolution on the tail maps.
        box_weight: share of the box loss.
        score_threshold: detections score more than this.
    Raises:
        ConfigError: a setting out of its range, or images smaller than the network can take.
    """
    check_ranges(locals())
    size = size or backbone.resolution
    _require_size(backbone, size)
    body = FlattenMaps(*tail_shape(backbone, size), box_hidden)
    head = FixedBoxesHead(body, num_classes, slots, box_weight, score_threshold)
    return BoxList(backbone, head, Normalize(backbone.mean, backbone.std), SquareResize(size))


def _require_size(backbone: Backbone, size: int) -> None:
    if size < backbone.min_size:
        raise ConfigError(
            f"task.size={size}: {type(backbone.innermost()).__name__} takes images of at least {backbone.min_size} "
            f"pixels a side; choose task.size={backbone.min_size} or more, or a network for small images (resnet20)"
        )

"""All the wiring on one page: where channels, strides and windows flow from a backbone into heads.

Builders take a finished backbone and plain numbers. Hydra's task files (`configs/task/`) name them as `_target_`.
"""

from collections.abc import Sequence
from typing import Literal

import torch

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.heads.box import BoxHead
from visionkit.heads.fixed_boxes import FixedBoxesHead
from visionkit.heads.linear_svm import LinearSVM
from visionkit.heads.localize import FlattenMaps, LocalizeHead
from visionkit.heads.nearest import NearestNeighbours
from visionkit.heads.rpn import RPNHead
from visionkit.models.box_list import BoxList
from visionkit.models.classifier import Classifier
from visionkit.models.encode import Pool
from visionkit.models.localizer import Localizer
from visionkit.models.pixels import Normalize
from visionkit.models.propose import RPN
from visionkit.models.ranges import check_ranges
from visionkit.models.region_detector import RegionDetector
from visionkit.models.sample import RegionSampler
from visionkit.models.whole_image import tail_shape
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
    hidden: int | None = None,
    train_top: tuple[int, int] = (2000, 2000),
    test_top: tuple[int, int] = (1000, 1000),
    min_side: float = 1e-3,
    samples: int = 256,
) -> RPN:
    """A region proposal network on the backbone's proposal stages.

    Args:
        anchor_sizes: per stage, the square roots of the anchors' areas in pixels. By default 8 strides on each level
            of a pyramid (32 ... 512 on p2 ... p6), and 32 ... 512 together on a single map.
        legacy_anchors: the nine anchors of the Caffe code on a single map of stride 16.
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
        cells = [cell_anchors(sizes, anchor_ratios, "round") for sizes in anchor_sizes]
    counts, channels = {len(cell) for cell in cells}, {stage.channels for stage in stages}
    if len(counts) > 1 or len(channels) > 1:
        raise ConfigError("one RPN head serves all levels: each needs the same number of anchors and of channels")
    return RPN(
        RPNHead(channels.pop(), counts.pop(), hidden),
        backbone.proposal_stages,
        cells,
        train_top=train_top,
        test_top=test_top,
        min_side=min_side,
        samples=samples,
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
    rpn_hidden: int | None = None,
    rpn_train_top: tuple[int, int] = (2000, 2000),
    rpn_test_top: tuple[int, int] = (1000, 1000),
    rpn_min_side: float = 1e-3,
    rpn_samples: int = 256,
    pooling: Literal["align", "pool"] = "align",
    regions: int = 512,
    positive_fraction: float = 0.25,
    box_beta: float = 1 / 9,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    max_detections: int = 100,
) -> RegionDetector:
    """Faster R-CNN (Ren et al. 2015) on any backbone: C4 when its region stage is c4, FPN when it is a pyramid.

    Defaults are torchvision's for R50-FPN. `short` and `long` bound the sides of test images in pixels.

    Raises ConfigError for a setting out of its range (`models.ranges`), or one that does not go with the backbone.
    """
    check_ranges(locals())
    propose = rpn(
        backbone,
        anchor_sizes=anchor_sizes,
        anchor_ratios=anchor_ratios,
        legacy_anchors=legacy_anchors,
        hidden=rpn_hidden,
        train_top=rpn_train_top,
        test_top=rpn_test_top,
        min_side=rpn_min_side,
        samples=rpn_samples,
    )
    head = BoxHead(
        backbone.out_channels,
        num_classes,
        beta=box_beta,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
    )
    encode = Pool(backbone, Normalize(backbone.mean, backbone.std), method=pooling)
    sample = RegionSampler(num_classes, regions, positive_fraction)
    return RegionDetector(propose, encode, sample, head, TestResize(short, long))


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

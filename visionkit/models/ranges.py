"""The ranges of a model's settings: a mistyped one is named when the model is built, not in the middle of a run."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from visionkit.errors import ConfigError


def _whole(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any, least: float = 0.0, most: float = math.inf) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value) and least <= value <= most


def _sides(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_number(side) and side > 0 for side in value)


def _pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(_whole(count) for count in value)


def _lists(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_sides(sides) for sides in value)


def _ious(value: Any) -> bool:
    known = isinstance(value, list | tuple) and len(value) > 1 and all(_number(iou, 0.0, 1.0) for iou in value)
    return known and all(a <= b for a, b in itertools.pairwise(value))


def _counts(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_whole(count) for count in value)


def _widths(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_whole(width) for width in value)


_FLAG = "true or false", lambda value: isinstance(value, bool)
_COUNT = "a whole number of at least 1", _whole
_PART = "a number from 0 to 1", lambda value: _number(value, 0.0, 1.0)
_LENGTH = "a number of at least 0", _number
_TOPS = "two whole numbers of at least 1, before and after NMS, such as [2000,1000]", _pair

RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "short": _COUNT,
    "long": _COUNT,
    "anchor_sizes": ("null or a list of sizes for each proposal stage, such as [[32],[64]]", _lists),
    "anchor_ratios": ("a list of numbers above 0", _sides),
    "anchor_rounding": ("round or none", lambda value: value in ("round", "none")),
    "anchor_pitch": ("canvas or stride", lambda value: value in ("canvas", "stride")),
    "rpn_hidden": _COUNT,
    "rpn_convs": _COUNT,
    "rpn_train_top": _TOPS,
    "rpn_test_top": _TOPS,
    "rpn_min_side": _LENGTH,
    "rpn_samples": _COUNT,
    "rpn_beta": _LENGTH,
    "pooling": ("align or pool", lambda value: value in ("align", "pool")),
    "sampling": ("a whole number of at least 0", lambda value: _whole(value, 0)),
    "aligned": ("true or false", lambda value: isinstance(value, bool)),
    "regions": _COUNT,
    "positive_fraction": _PART,
    "background_low": _PART,
    "head": ("softmax or svm", lambda value: value in ("softmax", "svm")),
    "max_proposals": _COUNT,
    "crop": _COUNT,
    "context": _LENGTH,
    "class_agnostic": _FLAG,
    "alternating": _FLAG,
    "box_regression": ("smooth_l1 or giou", lambda value: value in ("smooth_l1", "giou")),
    "suppression": ("nms or soft", lambda value: value in ("nms", "soft")),
    "cascade": ("null or a rising list of two or more IoUs from 0 to 1, such as [0.5,0.6,0.7]", _ious),
    "ranks": ("null or a list of whole numbers, one for each fully connected layer", _counts),
    "mask_input": ("null, windows or tail", lambda value: value in ("windows", "tail")),
    "mask_window": _COUNT,
    "mask_layers": ("null or a list of whole numbers, the channels of each convolution", _widths),
    "mask_hidden": _COUNT,
    "scales": ("a list of numbers above 0", _sides),
    "window": _COUNT,
    "fine": _FLAG,
    "margin": ("a whole number of at least 0", lambda value: _whole(value, 0)),
    "encoding": ("dense or crops", lambda value: value in ("dense", "crops")),
    "positives": _COUNT,
    "negatives": _COUNT,
    "match_high": _PART,
    "match_low": _PART,
    "hard_ratio": _LENGTH,
    "hard_least": _COUNT,
    "box_beta": _LENGTH,
    "score_threshold": _PART,
    "nms_threshold": _PART,
    "max_detections": _COUNT,
    "size": _COUNT,
    "aux_weight": _LENGTH,
    "label_smoothing": _PART,
    "box_input": ("maps or vector", lambda value: value in ("maps", "vector")),
    "box_hidden": _COUNT,
    "per_class": ("true or false", lambda value: isinstance(value, bool)),
    "box_loss": ("smooth_l1 or l2", lambda value: value in ("smooth_l1", "l2")),
    "box_weight": _LENGTH,
    "slots": _COUNT,
    "patch": _COUNT,
    "patches": _COUNT,
    "step": _COUNT,
    "chunk": _COUNT,
    "levels": _COUNT,
    "instances": _COUNT,
    "hidden": _COUNT,
    "convs": _COUNT,
    "density_weight": _LENGTH,
    "skip_scale": ("a number above 0, at most 1", lambda value: _number(value, 0.0, 1.0) and value > 0),
    "count_weight": _LENGTH,
    "balanced": _FLAG,
    "sharing": _FLAG,
    "up": ("transposed or bilinear", lambda value: value in ("transposed", "bilinear")),
    "widths": ("null or a list of whole numbers, the channels after each level", _counts),
}
OPTIONAL = frozenset(
    {
        "anchor_sizes",
        "cascade",
        "context",
        "crop",
        "mask_input",
        "mask_layers",
        "patch",
        "pooling",
        "ranks",
        "rpn_hidden",
        "size",
        "widths",
        "window",
    }
)


def check_ranges(settings: Mapping[str, Any]) -> None:
    """ConfigError naming the first of the settings that is out of its range; names that are unknown here pass."""
    for name, value in settings.items():
        if name not in RANGES or (value is None and name in OPTIONAL):
            continue
        wanted, holds = RANGES[name]
        if not holds(value):
            raise ConfigError(f"{name}={value}: {name} has to be {wanted}.")
    short, long = settings.get("short"), settings.get("long")
    if short is not None and long is not None and short > long:
        raise ConfigError(f"short={short} is more than long={long}: they bound the shorter and the longer side.")

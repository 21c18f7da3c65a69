"""Bring torchvision's detector weights over: keys renamed, and background moved from the first class to the last."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from visionkit.errors import ConfigError

# torchvision's key -> ours. The FPN's inner_blocks and layer_blocks are named alike below `backbone`.
KEY_MAP = (
    (r"^backbone\.body\.", "encode.backbone.body."),
    (r"^backbone\.fpn\.", "encode.backbone."),
    (r"^rpn\.head\.conv\.0\.0\.", "propose.head.conv."),
    (r"^rpn\.head\.", "propose.head."),
    (r"^roi_heads\.box_head\.", "encode.backbone.box_tail."),
    (r"^roi_heads\.box_predictor\.", "head."),
)


def rename(key: str) -> str:
    """torchvision's state-dict key of `fasterrcnn_*_fpn` -> ours."""
    for pattern, replacement in KEY_MAP:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    raise ConfigError(f"the key {key} is not one of torchvision's Faster R-CNN with FPN")


def background_last(value: Tensor, per_class: int) -> Tensor:
    """Rows ordered (background, 1 ... K) x per_class -> (1 ... K, background)."""
    return torch.cat([value[per_class:], value[:per_class]])


def faster_rcnn_from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of torchvision's `fasterrcnn_resnet50_fpn` -> that of `faster_rcnn(resnet50_fpn, num_classes=K)`.

    torchvision's class 0 is background and its box layer has four unused rows for it; they are dropped.
    The model's own `encode.normalize` buffers are not in the result: load with `strict=False` or merge.
    """
    ours = {}
    for key, value in state.items():
        name = rename(key)
        if name.startswith("head.cls_score"):
            value = background_last(value, 1)
        elif name.startswith("head.bbox_pred"):
            value = value[4:]
        ours[name] = value
    return ours

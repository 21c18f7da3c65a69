"""torchvision's Faster and Mask R-CNN with a pyramid, both versions: keys renamed, background moved to the end.

Which of the four a file holds is told by its keys. What differs beside them: torchvision's class 0 is background, and
its COCO models have 91 rows, ten of them for numbers that COCO never used: all are kept, since softmax sees them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.models.imported import EPS, Imported, depth_of, renamed, with_eps

# torchvision's key -> ours, the first that fits. Files from before its version 0.14 have fewer levels in some names.
KEYS = (
    (r"^backbone\.body\.", "encode.backbone.body."),
    (r"^backbone\.fpn\.(inner_blocks|layer_blocks)\.(\d)\.(weight|bias)$", r"encode.backbone.\1.\2.0.\3"),
    (r"^backbone\.fpn\.(inner_blocks|layer_blocks)\.", r"encode.backbone.\1."),
    (r"^rpn\.head\.conv\.0\.0\.", "propose.head.conv."),
    (r"^rpn\.head\.conv\.1\.0\.", "propose.head.more_convs.0."),
    (r"^rpn\.head\.(conv|cls_logits|bbox_pred)\.(weight|bias)$", r"propose.head.\1.\2"),
    (r"^roi_heads\.box_head\.(fc6|fc7)\.", r"encode.backbone.box_tail.\1."),
    (r"^roi_heads\.box_head\.(\d)\.([01])\.", r"encode.backbone.box_tail.convs.\1.\2."),
    (r"^roi_heads\.box_head\.\d\.(weight|bias)$", r"encode.backbone.box_tail.fc.\1"),
    (r"^roi_heads\.box_predictor\.(cls_score|bbox_pred)\.", r"head.\1."),
    (r"^roi_heads\.mask_head\.mask_fcn1\.", "mask.convs.0.0."),
    (r"^roi_heads\.mask_head\.mask_fcn2\.", "mask.convs.1.0."),
    (r"^roi_heads\.mask_head\.mask_fcn3\.", "mask.convs.2.0."),
    (r"^roi_heads\.mask_head\.mask_fcn4\.", "mask.convs.3.0."),
    (r"^roi_heads\.mask_head\.(\d)\.([01])\.", r"mask.convs.\1.\2."),
    (r"^roi_heads\.mask_predictor\.(conv5_mask|mask_fcn_logits)\.", r"mask.\1."),
)
SCORES = "roi_heads.box_predictor.cls_score.weight"


def is_torchvision(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of one of torchvision's detectors with regions."""
    return SCORES in state and any(key.startswith("rpn.") for key in state)


def weights_from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by torchvision's keys, all or some -> by ours.

    Background's row of the class scores goes from the first to the last place; its rows of boxes and masks, which
    nothing reads, are left out.
    """
    ours = renamed(state, KEYS, "torchvision")
    for key, value in ours.items():
        if key.startswith("head.cls_score."):
            ours[key] = torch.cat([value[1:], value[:1]])
        elif key.startswith("head.bbox_pred."):
            ours[key] = value[4:]
        elif key.startswith("mask.mask_fcn_logits."):
            ours[key] = value[1:]
    return ours


def from_torchvision(state: Mapping[str, Tensor], eps: float = EPS) -> Imported:
    """A whole state dict of `fasterrcnn_resnet50_fpn`, `maskrcnn_resnet50_fpn` or their `_v2`.

    Args:
        eps: of the body's frozen norms. The two files that torchvision published as `COCO_V1` of the first version were
            trained without one, and torchvision itself sets it to 0 for them.
    Raises:
        ConfigError: another model's file; the sentence names a key of it.
    """
    if SCORES not in state:
        raise ConfigError(f"no class scores ({SCORES}): it is none of torchvision's Faster or Mask R-CNN")
    if "backbone.body.layer1.0.conv1.weight" not in state:
        first = next((key for key in state if key.startswith("backbone.")), "no backbone at all")
        raise ConfigError(f"its body is no ResNet inside a pyramid: it has {first}")
    # Frozen norms have no counter; those of the second version, and of models trained from scratch, do.
    norm = "batch" if "backbone.body.bn1.num_batches_tracked" in state else "frozen"
    counters = norm == "batch"
    kept = {k: v for k, v in state.items() if counters or not k.endswith("num_batches_tracked")}
    weights = with_eps(weights_from_torchvision(kept), "encode.backbone.body.", eps)
    depth = depth_of(state, "backbone.body.layer3.")
    second = "backbone.fpn.inner_blocks.0.1.weight" in state
    masks = "roi_heads.mask_predictor.mask_fcn_logits.weight" in state
    settings: dict[str, object] = {"backbone.norm": norm}
    if second:
        settings["task.rpn_convs"] = 2
    if second and masks:
        settings["task.mask_norm"] = "batch"
    if second and depth != 50:
        raise ConfigError(f"the second version with a ResNet-{depth} is not known here, only with a ResNet-50")
    version = "second" if second else "first"
    notes = [
        f"torchvision's {'Mask' if masks else 'Faster'} R-CNN, {version} version, on a ResNet-{depth} with a pyramid"
    ]
    if eps != EPS:
        notes.append(
            f"its frozen norms add {eps:g} to the variance, ours {EPS:g}: the variances were changed by as much"
        )
    return Imported(
        weights,
        num_classes=len(state[SCORES]) - 1,
        task="mask_rcnn" if masks else "faster_rcnn",
        backbone=f"resnet{depth}_fpn{'_v2' if second else ''}",
        settings=settings,
        notes=tuple(notes),
    )

"""detectron2's Faster and Mask R-CNN on R50 and R101 with C4, DC5 or FPN: keys renamed, channels and anchors reordered.

Which of the six a file holds is told by its keys. The traps, each undone here or said in the settings:

- the stride of a group is in the first 1x1 convolution of MSRA's ResNets, which the model zoo starts from;
- they see pixels of 0 ... 255 in the order blue, green, red, less their mean: the first convolution's channels are
  turned round, and the backbone's std is 1/255;
- anchors have sizes in the outer order and ratios in the inner, ours the other way round (C4 and DC5 have five sizes in
  a cell); their corners are not rounded, and cells are a stride apart;
- RoIAlign is shifted by half a cell and takes as many samples as a bin has cells;
- smooth L1 has a beta of 0, so it is L1;
- background is the last class, as ours.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.models.imported import Imported, depth_of, renamed
from visionkit.ops.anchors import cell_anchors

SIZES = (32, 64, 128, 256, 512)
RATIOS = (0.5, 1.0, 2.0)
SCORES = "roi_heads.box_predictor.cls_score.weight"
RPN = "proposal_generator.rpn_head."
BGR_MEAN = (103.53, 116.28, 123.675)  # of ImageNet's pixels, 0 ... 255
BGR_STD = (57.375, 57.12, 58.395)  # what nets other than MSRA's divide by

# A trunk's part in detectron2 -> ours; the trunk itself is `backbone.bottom_up.` inside a pyramid, else `backbone.`.
TRUNK = (
    (r"stem\.conv1\.norm\.", "bn1."),
    (r"stem\.conv1\.weight$", "conv1.weight"),
    *((rf"res{n + 1}\.(\d+)\.shortcut\.norm\.", rf"layer{n}.\1.downsample.1.") for n in (1, 2, 3, 4)),
    *((rf"res{n + 1}\.(\d+)\.shortcut\.weight$", rf"layer{n}.\1.downsample.0.weight") for n in (1, 2, 3, 4)),
    *((rf"res{n + 1}\.(\d+)\.conv(\d)\.norm\.", rf"layer{n}.\1.bn\2.") for n in (1, 2, 3, 4)),
    *((rf"res{n + 1}\.(\d+)\.conv(\d)\.weight$", rf"layer{n}.\1.conv\2.weight") for n in (1, 2, 3, 4)),
)
HEADS = (
    (r"^proposal_generator\.rpn_head\.conv\.(weight|bias)$", r"propose.head.conv.\1"),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "propose.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "propose.head.bbox_pred."),
    (r"^roi_heads\.box_head\.fc1\.", "encode.backbone.box_tail.fc6."),
    (r"^roi_heads\.box_head\.fc2\.", "encode.backbone.box_tail.fc7."),
    (r"^roi_heads\.box_predictor\.(cls_score|bbox_pred)\.", r"head.\1."),
    *((rf"^roi_heads\.mask_head\.mask_fcn{n + 1}\.(weight|bias)$", rf"mask.convs.{n}.0.\1") for n in range(4)),
    (r"^roi_heads\.mask_head\.deconv\.", "mask.conv5_mask."),
    (r"^roi_heads\.mask_head\.predictor\.", "mask.mask_fcn_logits."),
    *((rf"^backbone\.fpn_lateral{n + 2}\.(weight|bias)$", rf"encode.backbone.inner_blocks.{n}.0.\1") for n in range(4)),
    *((rf"^backbone\.fpn_output{n + 2}\.(weight|bias)$", rf"encode.backbone.layer_blocks.{n}.0.\1") for n in range(4)),
)


def is_detectron2(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of one of detectron2's detectors with regions."""
    return SCORES in state and any(key.startswith(RPN) for key in state)


def keys(arch: Literal["C4", "DC5", "FPN"]) -> tuple[tuple[str, str], ...]:
    """The table of names, detectron2's -> ours."""
    theirs = r"^backbone\.bottom_up\." if arch == "FPN" else r"^backbone\."
    ours = "encode.backbone." if arch == "C4" else "encode.backbone.body."
    trunk = [(theirs + pattern, ours + name) for pattern, name in TRUNK]
    regions = [(r"^roi_heads\." + pattern, ours + name) for pattern, name in TRUNK if pattern.startswith("res5")]
    return (*trunk, *(regions if arch == "C4" else ()), *HEADS)


def by_ratio_then_size(rows: Tensor, sizes: int, ratios: int, per_anchor: int) -> Tensor:
    """Rows (sizes * ratios * per_anchor, ...) of anchors with sizes outside -> with ratios outside."""
    grid = rows.unflatten(0, (sizes, ratios, per_anchor))
    return grid.transpose(0, 1).flatten(0, 2)


def from_detectron2(state: Mapping[str, Tensor], form: Literal["msra", "torchvision"] = "msra") -> Imported:
    """A whole state dict.

    Args:
        form: of the ResNet, which the weights do not tell: "msra" (`STRIDE_IN_1X1: True`, BGR, `PIXEL_STD` of 1), or
            "torchvision" (`STRIDE_IN_1X1: False`, RGB, ImageNet's std), which models trained from torchvision's have.
    Raises:
        ConfigError: another model's file, or one that contradicts `form`; the sentence names what was found.
    """
    if SCORES not in state or f"{RPN}objectness_logits.weight" not in state:
        missing = SCORES if SCORES not in state else f"{RPN}objectness_logits.weight"
        raise ConfigError(f"no {missing}: it is none of detectron2's Faster or Mask R-CNN")
    arch, trunk = _architecture(state)
    depth = depth_of(state, f"{trunk}res4.")
    masks = "roi_heads.mask_head.predictor.weight" in state
    notes = [f"detectron2's {'Mask' if masks else 'Faster'} R-CNN, R{depth}-{arch}"]

    anchors = len(state[f"{RPN}objectness_logits.weight"])
    sizes = 1 if arch == "FPN" else len(SIZES)
    if anchors != sizes * len(RATIOS):
        raise ConfigError(f"its RPN has {anchors} anchors in a cell; R{depth}-{arch} has {sizes * len(RATIOS)}")
    _check_anchors(state, arch)
    _check_pixels(state, form)

    named = {key: value.float() for key, value in state.items() if not _is_no_weight(key)}
    missing_statistics = _fill_statistics(named)
    if missing_statistics:
        notes.append(f"{missing_statistics} norms hold no statistics: 0 and 1 were taken, as detectron2 does")
    weights = renamed(named, keys(arch), "detectron2")
    stem = "encode.backbone.conv1.weight" if arch == "C4" else "encode.backbone.body.conv1.weight"
    if form == "msra":
        weights[stem] = weights[stem].flip(1)  # blue, green, red -> red, green, blue
    for key, per_anchor in (("cls_logits", 1), ("bbox_pred", 4)):
        for part in ("weight", "bias"):
            name = f"propose.head.{key}.{part}"
            weights[name] = by_ratio_then_size(weights[name], sizes, len(RATIOS), per_anchor)

    suffix = "_msra" if form == "msra" else ""
    neck = {"C4": "", "DC5": "_dc5", "FPN": "_fpn"}[arch]
    settings: dict[str, Any] = {
        "backbone.norm": "frozen",
        "task.anchor_rounding": "none",
        "task.anchor_pitch": "stride",
        "task.rpn_train_top": [2000, 1000] if arch == "FPN" else [12000, 2000],
        "task.rpn_test_top": [1000, 1000] if arch == "FPN" else [6000, 1000],
        "task.rpn_beta": 0,
        "task.sampling": 0,
        "task.aligned": True,
        "task.box_beta": 0,
    }
    return Imported(
        weights,
        num_classes=len(state[SCORES]) - 1,
        task="mask_rcnn" if masks else "faster_rcnn",
        backbone=f"resnet{depth}{suffix}{neck}",
        settings=settings,
        notes=tuple(notes),
    )


def _architecture(state: Mapping[str, Tensor]) -> tuple[Literal["C4", "DC5", "FPN"], str]:
    """The neck, and the prefix of the trunk's keys."""
    if "backbone.fpn_lateral2.weight" in state:
        return "FPN", "backbone.bottom_up."
    if "roi_heads.res5.0.conv1.weight" in state:
        return "C4", "backbone."
    if "backbone.res5.0.conv1.weight" in state:
        return "DC5", "backbone."
    first = next((key for key in state if key.startswith("backbone.")), "no backbone at all")
    raise ConfigError(f"it is neither C4 nor DC5 nor FPN on a ResNet: it has {first}")


def _is_no_weight(key: str) -> bool:
    """What older files hold beside weights; `_check_anchors` and `_check_pixels` look at it."""
    return "anchor_generator.cell_anchors" in key or key in ("pixel_mean", "pixel_std")


def _check_anchors(state: Mapping[str, Tensor], arch: str) -> None:
    """Older files hold the anchors of a cell: they have to be the ones that will be built."""
    levels: Sequence[Sequence[float]] = [[size] for size in SIZES] if arch == "FPN" else [SIZES]
    for level, sizes in enumerate(levels):
        found = state.get(f"proposal_generator.anchor_generator.cell_anchors.{level}")
        if found is None:
            continue
        ours = cell_anchors(sizes, RATIOS, "none").unflatten(0, (len(RATIOS), len(sizes)))
        theirs = ours.transpose(0, 1).flatten(0, 1)  # sizes outside
        if found.shape != theirs.shape or not torch.allclose(found.float(), theirs, atol=1e-2):
            side = math.sqrt(float((found[0, 2:] - found[0, :2]).prod()))
            raise ConfigError(
                f"its anchors are not detectron2's defaults of {SIZES}: the first has {side:.1f} pixels a side"
            )


def _check_pixels(state: Mapping[str, Tensor], form: str) -> None:
    """Older files hold mean and std of the pixels: they have to be those of the form."""
    mean, std = BGR_MEAN, (1.0, 1.0, 1.0)
    if form == "torchvision":
        mean, std = BGR_MEAN[::-1], BGR_STD[::-1]
    for key, wanted in (("pixel_mean", mean), ("pixel_std", std)):
        found = state.get(key)
        if found is not None and not torch.allclose(found.float().flatten(), torch.tensor(wanted), atol=0.1):
            listed = ", ".join(f"{value:g}" for value in found.flatten().tolist())
            raise ConfigError(f"its {key} is {listed}, which is not that of form={form}; choose the other form")


def _fill_statistics(state: dict[str, Tensor]) -> int:
    """Early files have the affine part of frozen norms only, everything else folded into it. Returns how many."""
    scales = [key for key in state if key.endswith(".norm.weight")]
    alone = [key.removesuffix("weight") for key in scales if key.removesuffix("weight") + "running_var" not in state]
    for prefix in alone:
        state[prefix + "running_mean"] = torch.zeros_like(state[prefix + "weight"])
        state[prefix + "running_var"] = torch.ones_like(state[prefix + "weight"])
    return len(alone)

"""The road of the proposals, from anchors to final boxes, and where the RPN sees objects on each level."""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.detection_targets import traced_detections
from visionkit.models.propose import RPN, UNIT
from visionkit.models.region_detector import RegionDetector
from visionkit.ops.boxes import clip
from visionkit.ops.deltas import decode
from visionkit.structures import Batch, Detections


@dataclass(frozen=True)
class Road:
    """What becomes of one picture's anchors; boxes (n, 4) in pixels of the batch, best first where they have scores.

    Attributes:
        objectness: by stage, (h, w) in 0 ... 1: the best of a cell's anchors.
        anchors: by stage, the number of all of them.
        top: the anchors with the best scores of each level, that the RPN keeps before anything else.
        moved: the same, moved by their deltas and clipped; with `top_scores` (n,).
        proposals, proposal_scores: what non-maximum suppression leaves.
        regions: the proposals that a detection comes from.
        detections: the final boxes.
    """

    objectness: dict[str, Tensor]
    anchors: dict[str, int]
    top: Tensor
    moved: Tensor
    top_scores: Tensor
    proposals: Tensor
    proposal_scores: Tensor
    regions: Tensor
    detections: Detections


def proposal_road(model: RegionDetector, batch: Batch) -> Road:
    """Every step for a batch of one picture, by the model's own functions and settings.

    Raises ConfigError for detectors without an RPN, and as `traced_detections`.
    """
    rpn = model.propose
    if not isinstance(rpn, RPN):
        raise ConfigError("method=proposals is for detectors with a region proposal network (faster_rcnn, mask_rcnn).")
    traced = traced_detections(model, batch)
    before, after = rpn.test_top
    with torch.no_grad():
        maps = model.encode.maps(batch)
        levels = [maps[name] for name in rpn.stages]
        logits, deltas = rpn.head(levels)
        anchors = rpn.anchors(levels, batch.pixels.shape[-2:])
        found = rpn.select(batch, logits, deltas, anchors, before, after)
        best, moved, scores = [], [], []
        for score, delta, anchor in zip(logits, deltas, anchors, strict=True):
            order = score[0].topk(min(before, score.shape[1])).indices  # (k,)
            best.append(anchor[order])
            moved.append(clip(decode(anchor[order], delta[0, order], UNIT), batch.sizes[0]))
            scores.append(score[0, order].sigmoid())
    order = torch.cat(scores).argsort(descending=True, stable=True)
    valid = found.valid[0]
    return Road(
        objectness={
            name: score[0].view(*level.shape[-2:], -1).amax(dim=2).sigmoid()
            for name, level, score in zip(rpn.stages, levels, logits, strict=True)
        },
        anchors={name: len(some) for name, some in zip(rpn.stages, anchors, strict=True)},
        top=torch.cat(best)[order],
        moved=torch.cat(moved)[order],
        top_scores=torch.cat(scores)[order],
        proposals=found.boxes[0, valid],
        proposal_scores=found.scores[0, valid],
        regions=traced.regions,
        detections=traced.found,
    )

"""What of a detector's answer is explained: a detection's score, an edge of its box, its mask, a proposal.

A detection is a region that the head classified and moved. The explanation holds the region fixed, as training does
(approximate joint training, Faster R-CNN, sec. 3.2), and asks which pixels decide what the head makes of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.targets import EDGES, Target
from visionkit.heads.box import BoxHead
from visionkit.models.cascade import CascadeDetector
from visionkit.models.encode import Pool
from visionkit.models.propose import RPN, UNIT
from visionkit.models.region_detector import RegionDetector
from visionkit.ops.boxes import clip
from visionkit.ops.deltas import decode
from visionkit.ops.roi_pool import assign_levels
from visionkit.structures import Batch, Detections, Proposals


@dataclass(frozen=True)
class Traced:
    """What was found in one picture, in pixels of the batch, and the regions that it comes from."""

    found: Detections  # N of them, best first
    regions: Tensor  # (N, 4) float32


def traced_detections(model: RegionDetector, batch: Batch) -> Traced:
    """The detections of a batch of one picture, each with its region.

    Raises ConfigError for detectors whose regions are no windows of shared maps (R-CNN, dense sliding windows) or whose
    boxes come from several heads in turn (cascades).
    """
    pool, head = _parts(model)
    with torch.no_grad():
        maps = pool.maps(batch)
        proposals, _ = model.propose(batch, maps)
        boxes = proposals.boxes[0]  # (P, 4)
        index = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        logits, deltas = head(pool(batch, maps, boxes, index))  # (P, K + 1), (P, K or 1, 4)
        sizes = [(height, width) for height, width in batch.sizes.tolist()]
        scores = logits.softmax(dim=1)[:, : head.num_classes]  # (P, K)
        found = head.select(scores, deltas, proposals, sizes)[0]
        moved = clip(decode(boxes[:, None], deltas, head.stds), batch.sizes[0])  # (P, K or 1, 4)
    rows = _sources(found, moved, scores, proposals)
    return Traced(found, boxes[rows])


def _sources(found: Detections, moved: Tensor, scores: Tensor, proposals: Proposals) -> Tensor:
    """Positions (N,) of the proposals whose boxes (P, K or 1, 4), moved by the head, are the detections'. Boxes may
    coincide where they were clipped: of those, the one whose score (P, K) is nearest; Soft-NMS has lowered some."""
    if len(found.boxes) == 0:
        return found.labels
    own = moved[:, found.labels.clamp(max=moved.shape[1] - 1)]  # (P, N, 4)
    far = (own - found.boxes).abs().sum(dim=2)  # (P, N), 0 at the source
    far = far.masked_fill(~proposals.valid[0, :, None], torch.inf)
    apart = (scores[:, found.labels] - found.scores).abs()  # (P, N)
    return apart.masked_fill(far > far.amin(dim=0) + 1e-3, torch.inf).argmin(dim=0)


def detection_target(model: RegionDetector, traced: Traced, rank: int, names: tuple[str, ...]) -> Target:
    """The class score of the detection of this rank, 0 for the best."""
    _, head = _parts(model)
    region, label, box, text = _of_rank(traced, rank, names)

    def logits(images: Tensor) -> Tensor:
        return head(_vectors(model, images, region))[0]  # (B, K + 1)

    return Target(
        lambda images: logits(images)[:, label],
        text,
        lambda images: logits(images).softmax(dim=1)[:, label],
        box=box,
        layer=_level(model, region),
    )


def box_edge_target(model: RegionDetector, traced: Traced, rank: int, edge: str, names: tuple[str, ...]) -> Target:
    """An edge of a detection's box, in pixels of the network's image; `edge` is one of `EDGES`."""
    _, head = _parts(model)
    region, label, box, text = _of_rank(traced, rank, names)
    side = EDGES.index(edge)

    def score(images: Tensor) -> Tensor:
        deltas = head(_vectors(model, images, region))[1]  # (B, K or 1, 4)
        return decode(region, deltas[:, min(label, deltas.shape[1] - 1)], head.stds)[:, side]  # (B,)

    return Target(score, f"{edge} of {text} at {float(box[side]):.0f} px", box=box, layer=_level(model, region))


def mask_target(model: RegionDetector, batch: Batch, traced: Traced, rank: int, names: tuple[str, ...]) -> Target:
    """The mean logit of a detection's mask over the cells that it covers."""
    pool, _ = _parts(model)
    mask = model.mask
    if mask is None:
        raise ConfigError("target=mask is for detectors with masks (task=mask_rcnn).")
    _, label, box, text = _of_rank(traced, rank, names)
    side = pool.backbone.window if mask.after_tail else mask.window

    def logits(images: Tensor) -> Tensor:
        index = torch.arange(len(images), device=images.device)
        windows = pool.windows(pool.maps_of(images), box.expand(len(images), 4), index, side)  # (B, C, side, side)
        return mask(pool.backbone.tail_maps(windows) if mask.after_tail else windows)[:, label]  # (B, M, M)

    with torch.no_grad():
        covered = (logits(pool.normalize(batch))[0] > 0).float()  # (M, M), held fixed

    def score(images: Tensor) -> Tensor:
        return (logits(images) * covered).sum(dim=(1, 2)) / covered.sum().clamp(min=1)

    return Target(score, f"mask of {text}", box=box, layer=_level(model, box))


def proposal_target(model: RegionDetector, batch: Batch, rank: int, edge: str | None = None) -> Target:
    """The objectness logit of the anchor that a proposal comes from, or an edge of the proposal."""
    rpn, pool = model.propose, _parts(model)[0]
    if not isinstance(rpn, RPN):
        raise ConfigError("target=proposal is for detectors with a region proposal network (faster_rcnn, mask_rcnn).")
    with torch.no_grad():
        levels = [pool.maps(batch)[name] for name in rpn.stages]
        logits, deltas = rpn.head(levels)
        anchors = rpn.anchors(levels, batch.pixels.shape[-2:])
        found = rpn.select(batch, logits, deltas, anchors, *rpn.test_top)
        count = int(found.valid[0].sum())
        if not 0 <= rank < count:
            raise ConfigError(f"target=proposal:{rank}: there are {count} proposals, 0 is the best.")
        box = found.boxes[0, rank]  # (4,)
        moved = clip(decode(torch.cat(anchors), torch.cat(deltas, dim=1)[0], UNIT), batch.sizes[0])  # (N, 4)
        # Boxes may coincide where they were clipped, so the score has to fit as well.
        far = (moved - box).abs().sum(dim=1) + (torch.cat(logits, dim=1)[0].sigmoid() - found.scores[0, rank]).abs()
        place = int(far.argmin())
    level = _level_of(place, [len(some) for some in anchors])
    anchor = torch.cat(anchors)[place]  # (4,)

    def answers(images: Tensor) -> tuple[Tensor, Tensor]:
        maps = pool.maps_of(images)
        scores, moves = rpn.head([maps[name] for name in rpn.stages])
        return torch.cat(scores, dim=1)[:, place], decode(anchor, torch.cat(moves, dim=1)[:, place], UNIT)

    text = f"proposal {rank}, objectness {float(found.scores[0, rank]):.2f}"
    if edge is None:
        return Target(
            lambda images: answers(images)[0],
            text,
            lambda images: answers(images)[0].sigmoid(),
            box=box,
            layer=rpn.stages[level],
        )
    side = EDGES.index(edge)
    title = f"{edge} of {text} at {float(box[side]):.0f} px"
    return Target(lambda images: answers(images)[1][:, side], title, box=box, layer=rpn.stages[level])


def _parts(model: RegionDetector) -> tuple[Pool, BoxHead]:
    pool, head = model.encode, model.head
    if isinstance(model, CascadeDetector):
        raise ConfigError(
            "a cascade's boxes come from several heads in turn, which is not explained; choose task.cascade=null."
        )
    if not isinstance(pool, Pool) or not isinstance(head, BoxHead):
        raise ConfigError(
            f"detections are explained where regions are windows of shared maps and one head judges them (fast_rcnn, "
            f"faster_rcnn, mask_rcnn), not with {type(pool).__name__} and {type(head).__name__}."
        )
    return pool, head


def _vectors(model: RegionDetector, images: Tensor, region: Tensor) -> Tensor:
    """The region (4,) of every image -> vectors (B, C)."""
    pool, _ = _parts(model)
    index = torch.arange(len(images), device=images.device)
    windows = pool.windows(pool.maps_of(images), region.expand(len(images), 4), index, pool.backbone.window)
    return pool.backbone.tail(windows)


def _of_rank(traced: Traced, rank: int, names: tuple[str, ...]) -> tuple[Tensor, int, Tensor, str]:
    """Region, label, box and title of a detection."""
    found = traced.found
    if not 0 <= rank < len(found.boxes):
        raise ConfigError(f"target=detection:{rank}: the model found {len(found.boxes)} objects, 0 is the best.")
    label = int(found.labels[rank])
    return traced.regions[rank], label, found.boxes[rank], f"{names[label]} {float(found.scores[rank]):.2f}"


def _level(model: RegionDetector, region: Tensor) -> str:
    """The stage that a region (4,) is cut from."""
    pool, _ = _parts(model)
    names = pool.backbone.region_stages
    if len(names) == 1:
        return names[0]
    lowest = pool.backbone.stages[names[0]].stride.bit_length() - 1
    return names[int(assign_levels(region[None], lowest, lowest + len(names) - 1)[0])]


def _level_of(place: int, counts: list[int]) -> int:
    for level, count in enumerate(counts):
        if place < count:
            return level
        place -= count
    raise IndexError(place)

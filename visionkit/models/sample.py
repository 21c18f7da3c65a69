"""Which proposals the region head learns from: the mini-batch sampling of Fast R-CNN, sec. 2.3."""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionkit.models.ignore import on_crowd
from visionkit.ops.boxes import iou
from visionkit.ops.hashing import random_keys
from visionkit.ops.matching import Matches, match
from visionkit.ops.sampling import Samples, sample_balanced
from visionkit.structures import Batch, Proposals, Regions, Targets

SALT = 0x5EED  # the regions' random keys must not repeat those of the anchors


@dataclass(frozen=True)
class RegionSampler:
    """A fixed number of regions per image, a share of them foreground; missing ones have weight 0.

    Args:
        num_classes: K, the label of background.
        size, positive_fraction: regions per image, and the largest share of foreground.
        high: IoU from which a proposal is foreground.
        low: IoU below which it is neither (0.1 in Fast R-CNN, a hard-example heuristic; 0 in Faster R-CNN).
        add_truth: whether the truth joins the proposals.
    """

    num_classes: int
    size: int = 512
    positive_fraction: float = 0.25
    high: float = 0.5
    low: float = 0.0
    add_truth: bool = True

    def __call__(self, batch: Batch, proposals: Proposals, targets: Targets) -> Regions:
        """Proposals (B, P) -> regions (B * size)."""
        boxes, exists = proposals.boxes, proposals.valid
        learnable = targets.valid & ~targets.crowd  # (B, G)
        if self.add_truth:
            boxes = torch.cat([boxes, targets.boxes], dim=1)  # (B, N, 4)
            exists = torch.cat([exists, learnable], dim=1)  # (B, N)
        overlap = iou(targets.boxes, boxes)  # (B, G, N)
        matches = match(overlap, learnable, self.high, self.high, keep_best=False)
        kind = matches.kind.masked_fill(~exists, -1)  # (B, N)
        if self.low > 0:
            best = (overlap * learnable[..., None]).amax(dim=1)  # (B, N)
            kind = kind.masked_fill((kind == 0) & (best < self.low), -1)
        crowd = on_crowd(boxes, targets)
        if crowd is not None:
            kind = kind.masked_fill(crowd & (kind == 0), -1)
        keys = random_keys(batch.seeds + SALT, boxes.shape[1])
        chosen = sample_balanced(kind, keys, self.size, self.positive_fraction)

        return as_regions(boxes, matches, chosen, targets, self.num_classes)


def as_regions(boxes: Tensor, matches: Matches, chosen: Samples, targets: Targets, num_classes: int) -> Regions:
    """The chosen S of the candidates (B, N, 4) of each image in one list (B * S), with their matched truth."""
    matched = matches.index.gather(1, chosen.index)  # (B, S)
    labels = torch.where(chosen.positive, targets.labels.gather(1, matched), num_classes)  # (B, S)
    image_index = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(matched)  # (B, S)
    return Regions(
        boxes.gather(1, chosen.index[..., None].expand(-1, -1, 4)).flatten(0, 1),
        image_index.flatten(),
        labels.flatten(),
        targets.boxes.gather(1, matched[..., None].expand(-1, -1, 4)).flatten(0, 1),
        matched.flatten(),
        chosen.weights.flatten(),
    )

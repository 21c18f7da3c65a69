"""Where regions come from: the `propose` slot of a `RegionDetector`."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.heads.rpn import RPNHead
from visionkit.models.ignore import on_crowd
from visionkit.ops.anchors import grid_anchors
from visionkit.ops.boxes import clip, iou, large_enough
from visionkit.ops.deltas import decode, encode
from visionkit.ops.hashing import random_keys
from visionkit.ops.losses import binary_cross_entropy, smooth_l1, weighted_sum
from visionkit.ops.matching import match
from visionkit.ops.nms import batched_nms
from visionkit.ops.reduce import across_processes
from visionkit.ops.sampling import sample_balanced
from visionkit.structures import Batch, Proposals, Targets

UNIT = (1.0, 1.0, 1.0, 1.0)


class RPN(nn.Module):
    """Region proposal network (Faster R-CNN, sec. 3; over a pyramid: FPN, sec. 4.1).

    Args:
        head: objectness and deltas of every anchor.
        stages: names of the maps it looks at.
        cell_anchors: per stage, the (A, 4) anchors of a cell, centred at 0 (`ops.anchors.cell_anchors`).
        train_top, test_top: (anchors kept per level before NMS, proposals kept per image after it), with truth
            given and without.
        samples, positive_fraction: anchors of an image that the loss sees, and the largest share of positives.
        high, low: IoU from which an anchor is positive, and below which it is negative.
        beta: of smooth L1.
    """

    def __init__(
        self,
        head: RPNHead,
        stages: Sequence[str],
        cell_anchors: Sequence[Tensor],
        *,
        train_top: tuple[int, int] = (2000, 2000),
        test_top: tuple[int, int] = (1000, 1000),
        nms_threshold: float = 0.7,
        min_side: float = 1e-3,
        samples: int = 256,
        positive_fraction: float = 0.5,
        high: float = 0.7,
        low: float = 0.3,
        beta: float = 1 / 9,
    ):
        super().__init__()
        self.head = head
        self.stages = tuple(stages)
        self.train_top, self.test_top = tuple(train_top), tuple(test_top)
        self.nms_threshold, self.min_side = nms_threshold, min_side
        self.samples, self.positive_fraction = samples, positive_fraction
        self.high, self.low, self.beta = high, low, beta
        for i, cell in enumerate(cell_anchors):  # buffers, so that they follow the model to its device
            self.register_buffer(f"cell_{i}", cell, persistent=False)

    def anchors(self, maps: Sequence[Tensor], canvas: Sequence[int]) -> list[Tensor]:
        """Per level the anchors (h*w*A, 4) in pixels of the batch, whose canvas is (height, width).

        The pitch of the cells is canvas // map, torchvision's rule: the stride wherever it divides the canvas. Where it
        does not (p6 of a canvas that is a multiple of 32 only) the cells stand a little closer, all on the image.
        """
        found = []
        for i, level in enumerate(maps):
            height, width = level.shape[-2:]
            pitch = (max(1, canvas[0] // height), max(1, canvas[1] // width))
            found.append(grid_anchors(getattr(self, f"cell_{i}"), (height, width), pitch, level.device))
        return found

    loss_names = ("loss_objectness", "loss_proposal")

    def prepare(self, batch: Batch, images: Sequence[np.ndarray]) -> Batch:
        """The batch as it is: proposals come from its maps."""
        return batch

    def forward(
        self, batch: Batch, maps: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """Maps -> proposals, and the named losses when truth is given (else none)."""
        levels = [maps[name] for name in self.stages]
        logits, deltas = self.head(levels)
        anchors = self.anchors(levels, batch.pixels.shape[-2:])
        top = self.test_top if targets is None else self.train_top
        with torch.no_grad():  # constants to the box head: approximate joint training (Faster R-CNN, sec. 3.2)
            proposals = self.select(batch, logits, deltas, anchors, *top)
        losses = {} if targets is None else self.losses(batch, targets, logits, deltas, anchors)
        return proposals, losses

    def select(
        self, batch: Batch, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], before: int, after: int
    ) -> Proposals:
        """Best anchors of each level, decoded, clipped, thinned by NMS inside the level, best first over all levels."""
        boxes, scores, level = [], [], []
        for i, (score, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            score, index = score.topk(min(before, score.shape[1]), dim=1)  # (B, k), before decoding: most are dropped
            delta = delta.gather(1, index[..., None].expand(-1, -1, 4))  # (B, k, 4)
            boxes.append(decode(anchor[index], delta, UNIT))  # (B, k, 4)
            scores.append(score.sigmoid())
            level.append(torch.full_like(index[0], i))
        all_boxes = clip(torch.cat(boxes, dim=1), batch.sizes[:, None, :])  # (B, N, 4)
        all_scores, groups = torch.cat(scores, dim=1), torch.cat(level)  # (B, N), (N,)
        kept = []
        for image_boxes, image_scores in zip(all_boxes, all_scores, strict=True):
            big = large_enough(image_boxes, self.min_side).nonzero().squeeze(1)  # NaN boxes are not large enough
            kept.append(
                big[batched_nms(image_boxes[big], image_scores[big], groups[big], self.nms_threshold, after)]
            )  # (n_i,)
        index = nn.utils.rnn.pad_sequence(kept, batch_first=True)  # (B, P)
        counts = torch.tensor([len(k) for k in kept], device=index.device)
        return Proposals(
            all_boxes.gather(1, index[..., None].expand(-1, -1, 4)),
            all_scores.gather(1, index),
            torch.arange(index.shape[1], device=index.device)[None] < counts[:, None],
        )

    def losses(
        self, batch: Batch, targets: Targets, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        """Faster R-CNN, eq. 1; both terms divided by the number of sampled anchors of the whole batch."""
        every = torch.cat(anchors)  # (N, 4)
        matches = match(
            iou(targets.boxes, every), targets.valid & ~targets.crowd, self.low, self.high, keep_best=True
        )  # (B, N)
        kind = matches.kind
        crowd = on_crowd(every, targets)
        if crowd is not None:
            kind = kind.masked_fill(crowd & (kind == 0), -1)
        keys = random_keys(batch.seeds, len(every))  # (B, N)
        chosen = sample_balanced(kind, keys, self.samples, self.positive_fraction)
        index = chosen.index[..., None].expand(-1, -1, 4)  # (B, S, 4)
        score = torch.cat(logits, dim=1).gather(1, chosen.index)  # (B, S)
        delta = torch.cat(deltas, dim=1).gather(1, index)  # (B, S, 4)
        anchor = every[chosen.index]  # (B, S, 4)
        truth = targets.boxes.gather(1, matches.index.gather(1, chosen.index)[..., None].expand(-1, -1, 4))
        truth = torch.where(chosen.positive[..., None], truth, anchor)  # negatives have no box; keeps logarithms finite
        errors = smooth_l1(delta, encode(anchor, truth, UNIT), self.beta).sum(dim=2)  # (B, S)
        count = across_processes(chosen.weights.sum()).clamp(min=1)
        return {
            "loss_objectness": binary_cross_entropy(score, chosen.positive.float(), chosen.weights) / count,
            "loss_proposal": weighted_sum(errors, chosen.weights * chosen.positive) / count,
        }

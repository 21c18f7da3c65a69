"""Cascade R-CNN (Cai and Vasconcelos 2018): stages that refine each other's boxes, each stricter than the last."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from visionkit.errors import ConfigError
from visionkit.heads.box import BoxHead
from visionkit.heads.mask import MaskHead
from visionkit.models.encode import Pool
from visionkit.models.region_detector import Propose, RegionDetector
from visionkit.models.sample import RegionSampler
from visionkit.ops.boxes import clip
from visionkit.ops.deltas import decode
from visionkit.ops.resize import TestResize
from visionkit.structures import Batch, Detections, Proposals, Regions, Targets


class CascadeDetector(RegionDetector):
    """The detector's own head is the first stage; the others have a tail and a head of their own.

    A stage learns from the boxes of the one before, at its own IoU (sec. 4.1); at test the scores of all heads on the
    last boxes are averaged (sec. 4.3). Boxes do not depend on the class until the last is decoded (sec. 5.1).

    Args:
        heads: class-agnostic `BoxHead`s, one a stage, the first included.
        samplers: one a stage, with rising `high`.
    Raises:
        ConfigError: a backbone whose tail is no module that can be copied (all but pyramids), or a head with a box for
            each class.
    """

    def __init__(
        self,
        propose: Propose,
        encode: Pool,
        samplers: Sequence[RegionSampler],
        heads: Sequence[BoxHead],
        resize: TestResize,
        mask: MaskHead | None = None,
    ) -> None:
        super().__init__(propose, encode, samplers[0], heads[0], resize, mask)
        tail = getattr(encode.backbone, "box_tail", None)
        if not isinstance(tail, nn.Module):
            raise ConfigError("task.cascade gives each stage a tail of its own: choose a pyramid (backbone=..._fpn).")
        if any(head.bbox_pred.out_features != 4 for head in heads):
            raise ConfigError("task.cascade refines one box per region: set task.class_agnostic=true.")
        self.samplers = tuple(samplers)
        self.later_heads = nn.ModuleList(heads[1:])
        self.later_tails = nn.ModuleList(copy.deepcopy(tail) for _ in heads[1:])

    class_layers = ("head", "mask.mask_fcn_logits", "later_heads")

    # Names for what the base class holds as `encode` and `head`; modules of their own would be saved twice.
    @property
    def pool(self) -> Pool:
        return self.encode  # type: ignore[return-value]

    @property
    def first(self) -> BoxHead:
        return self.head  # type: ignore[return-value]

    @property
    def loss_names(self) -> tuple[str, ...]:
        names = self.first.loss_names
        later = [f"{name}_{stage}" for stage in range(2, len(self.samplers) + 1) for name in names]
        return (*super().loss_names, *later)

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        maps = self.encode.maps(batch)
        proposals, losses = self.propose(batch, maps, targets)
        regions = self.sample(batch, proposals, targets)
        vectors = self.encode(batch, maps, regions.boxes, regions.image_index)
        losses = losses | self._scaled(self.first.losses(vectors, regions), "")
        losses |= self._mask_losses(batch, maps, regions, targets)
        head = self.first
        for stage, (tail, later) in enumerate(self._later(), start=2):
            regions = self.samplers[stage - 1](batch, self._refined(head, vectors, regions, batch), targets)
            vectors = self._encode(maps, regions.boxes, regions.image_index, tail)
            losses |= self._scaled(later.losses(vectors, regions), f"_{stage}")
            head = later
        return losses

    def _scaled(self, losses: dict[str, Tensor], suffix: str) -> dict[str, Tensor]:
        """Every stage counts the same share, so that the trunk learns as much as from one head."""
        return {name + suffix: value / len(self.samplers) for name, value in losses.items()}

    def _later(self) -> list[tuple[nn.Module, BoxHead]]:
        return list(zip(self.later_tails, self.later_heads, strict=True))  # type: ignore[arg-type]

    def _encode(self, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor, tail: nn.Module) -> Tensor:
        vectors: Tensor = tail(self.pool.windows(maps, boxes, image_index, self.backbone.window))  # (R, C)
        return vectors

    @torch.no_grad()
    def _refined(self, head: BoxHead, vectors: Tensor, regions: Regions, batch: Batch) -> Proposals:
        """The regions moved by a head, as proposals of the next stage: (B, regions of an image)."""
        images = len(batch.sizes)
        moved = decode(regions.boxes, head(vectors)[1][:, 0], head.stds)  # (R, 4)
        moved = clip(moved, batch.sizes[regions.image_index]).nan_to_num(0.0)
        valid = (regions.weights > 0) & (moved[:, 2:] > moved[:, :2]).all(dim=1)  # (R,)
        return Proposals(
            moved.unflatten(0, (images, -1)),
            regions.weights.unflatten(0, (images, -1)),
            valid.unflatten(0, (images, -1)),
        )

    def _classified(
        self, batch: Batch, maps: dict[str, Tensor], proposals: Proposals, sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        images, count = proposals.scores.shape
        image_index = torch.arange(images, device=batch.pixels.device).repeat_interleave(count)  # (B*P,)
        boxes, limits = proposals.boxes.flatten(0, 1), batch.sizes[image_index]  # (B*P, 4), (B*P, 2)
        vectors = self.encode(batch, maps, boxes, image_index)
        logits, deltas = self.first(vectors)
        head = self.first
        for tail, later in self._later():
            boxes = clip(decode(boxes, deltas[:, 0], head.stds), limits).nan_to_num(0.0)
            vectors = self._encode(maps, boxes, image_index, tail)
            deltas = later(vectors)[1]
            head = later
        # All heads judge the boxes that the last one refines.
        scores = self.first(self.encode(batch, maps, boxes, image_index))[0].softmax(dim=1)
        for tail, later in self._later():
            scores = scores + later(self._encode(maps, boxes, image_index, tail))[0].softmax(dim=1)
        scores = scores[:, : self.first.num_classes] / len(self.samplers)  # (B*P, K)
        return head.select(scores, deltas, replace(proposals, boxes=boxes.unflatten(0, (images, count))), sizes)

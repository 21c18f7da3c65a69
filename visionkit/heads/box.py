"""The box head of Fast R-CNN (sec. 2.1, 2.3): class scores and one refined box per class from a region's vector."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from visionkit.ops.boxes import clip, giou, large_enough
from visionkit.ops.deltas import Stds, decode, encode
from visionkit.ops.losses import cross_entropy, smooth_l1, weighted_sum
from visionkit.ops.nms import batched_nms
from visionkit.ops.reduce import across_processes
from visionkit.ops.soft_nms import soft_nms
from visionkit.structures import Detections, Proposals, Regions


class BoxHead(nn.Module):
    """Softmax over K classes and background, and deltas for each of the K classes, or for all together.

    Args:
        channels: length of a region's vector.
        num_classes: K; background is K, inside this head only.
        stds: what deltas are divided by before they are learned (0.1, 0.1, 0.2, 0.2 since Fast R-CNN's code).
        beta: where smooth L1 turns from quadratic to linear; 0 is plain L1.
        score_threshold, nms_threshold, max_detections: of the final list (COCO: 0.05, 0.5, 100; VOC papers: NMS 0.3).
        class_agnostic: one refined box per region, whatever its class (R-FCN, Cascade R-CNN).
        regression: "smooth_l1" on the deltas, or "giou": 1 - GIoU of the boxes (Rezatofighi et al. 2019).
        suppression: "nms", or "soft": overlapping boxes lose score instead (`ops.soft_nms`).
    """

    loss_names: tuple[str, ...] = ("loss_class", "loss_box")

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        stds: Stds = (0.1, 0.1, 0.2, 0.2),
        beta: float = 1 / 9,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
        class_agnostic: bool = False,
        regression: Literal["smooth_l1", "giou"] = "smooth_l1",
        suppression: Literal["nms", "soft"] = "nms",
    ):
        super().__init__()
        self.num_classes = num_classes
        self.stds = stds
        self.beta = beta
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_detections = max_detections
        self.regression = regression
        self.suppression = suppression
        self.cls_score = nn.Linear(channels, num_classes + 1)
        self.bbox_pred = nn.Linear(channels, 4 if class_agnostic else num_classes * 4)
        # torch's own start, as in torchvision. Fast R-CNN's (normal, 0.01 and 0.001) passes so little of the box loss
        # on to the layers below that boxes come late in a schedule of a few hundred steps.

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (R, C) -> logits (R, K + 1) and deltas (R, K, 4), or (R, 1, 4) where all classes share; float32."""
        return self.cls_score(vectors).float(), self.bbox_pred(vectors).float().unflatten(1, (-1, 4))

    def losses(self, vectors: Tensor, regions: Regions) -> dict[str, Tensor]:
        """Named losses, both divided by the number of sampled regions of the whole batch (Fast R-CNN, eq. 1)."""
        logits, deltas = self(vectors)
        count = across_processes(regions.weights.sum()).clamp(min=1)
        foreground = regions.labels < self.num_classes  # (R,)
        rows = torch.arange(len(deltas), device=deltas.device)
        chosen = deltas[rows, regions.labels.clamp(max=deltas.shape[1] - 1)]  # (R, 4)
        # Background has no box to learn; matching it to itself keeps the logarithms finite.
        matched = torch.where(foreground[:, None], regions.matched, regions.boxes)  # (R, 4)
        errors = self._errors(chosen, regions.boxes, matched)  # (R,)
        return {
            "loss_class": cross_entropy(logits, regions.labels, regions.weights) / count,
            "loss_box": weighted_sum(errors, regions.weights * foreground) / count,
        }

    def _errors(self, deltas: Tensor, boxes: Tensor, matched: Tensor) -> Tensor:
        """How far the deltas (R, 4) are from moving boxes (R, 4) onto the matched ones (R, 4): (R,)."""
        if self.regression == "giou":
            moved = decode(boxes, deltas, self.stds)  # (R, 4)
            return 1 - giou(moved[:, None], matched[:, None])[:, 0, 0]
        return smooth_l1(deltas, encode(boxes, matched, self.stds), self.beta).sum(dim=1)

    def detect(self, vectors: Tensor, proposals: Proposals, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Vectors (B*P, C) of all proposals (B, P) -> the detections of each image, in pixels of the batch."""
        logits, deltas = self(vectors)
        return self.select(logits.softmax(dim=1)[:, : self.num_classes], deltas, proposals, sizes)

    def select(
        self, scores: Tensor, deltas: Tensor, proposals: Proposals, sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Scores (B*P, K) in 0 ... 1 and deltas (B*P, K or 1, 4) of all proposals (B, P) -> each image's final list.

        Scores are thresholded before boxes are decoded: on most images that leaves a few per cent of the work.
        """
        shape = proposals.scores.shape  # (B, P)
        scores = scores.unflatten(0, shape)  # (B, P, K)
        deltas = deltas.unflatten(0, shape)  # (B, P, K or 1, 4)
        found = []
        for i, size in enumerate(sizes):
            kept = (scores[i] > self.score_threshold) & proposals.valid[i, :, None]  # (P, K)
            rows, labels = kept.nonzero(as_tuple=True)  # (M,), (M,)
            chosen = deltas[i, rows, labels.clamp(max=deltas.shape[2] - 1)]  # (M, 4)
            boxes = decode(proposals.boxes[i, rows], chosen, self.stds)  # (M, 4)
            boxes = clip(boxes, boxes.new_tensor(size))
            big = large_enough(boxes, 1e-2)
            found.append(self._suppressed(boxes[big], scores[i, rows, labels][big], labels[big]))
        return found

    def _suppressed(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
        """Candidates (M, 4), (M,), (M,) of an image -> what is left of them, best first."""
        if self.suppression == "soft":
            keep, scores = soft_nms(
                boxes, scores, labels, score_threshold=self.score_threshold, max_keep=self.max_detections
            )
            return Detections(boxes[keep], scores, labels[keep])
        keep = batched_nms(boxes, scores, labels, self.nms_threshold, self.max_detections)
        return Detections(boxes[keep], scores[keep], labels[keep])

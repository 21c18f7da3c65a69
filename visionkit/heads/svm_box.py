"""Heads whose classes are told by support vector machines once these are fitted (`visionkit.rcnn`)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from visionkit.heads.box import BoxHead
from visionkit.heads.class_svms import ClassSVMs
from visionkit.heads.ridge_boxes import RidgeBoxes
from visionkit.ops.losses import cross_entropy
from visionkit.ops.reduce import across_processes
from visionkit.structures import Detections, Proposals, Regions


class SVMScores(BoxHead):
    """Fast R-CNN's head with R-CNN's classifiers on the same vectors (Fast R-CNN, sec. 5.4: softmax is no worse).

    Softmax and deltas are trained as ever. After the fit the scores are the SVMs', the deltas stay the trained ones.
    """

    def __init__(self, channels: int, num_classes: int, **settings: Any) -> None:
        """As `BoxHead`."""
        super().__init__(channels, num_classes, **settings)
        self.svms = ClassSVMs(channels, num_classes)

    def scores(self, vectors: Tensor, logits: Tensor) -> Tensor:
        """Vectors (R, C) and their logits (R, K + 1) -> scores (R, K) in 0 ... 1."""
        if bool(self.svms.fitted):
            return self.svms(vectors)
        return logits.softmax(dim=1)[:, : self.num_classes]

    def detect(self, vectors: Tensor, proposals: Proposals, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Vectors (B*P, C) of all proposals (B, P) -> the detections of each image, in pixels of the batch."""
        logits, deltas = self(vectors)
        return self.select(self.scores(vectors, logits), deltas, proposals, sizes)


class SVMBoxHead(SVMScores):
    """R-CNN's head: a softmax to fine-tune the network with, then SVMs, then ridge regressors of boxes.

    Which of them detect follows from what has been fitted, a flag in the checkpoint for each: softmax scores and the
    proposals' own boxes at first, SVM scores and refined boxes in the end. Boxes are refined before NMS, as in the
    paper's code.

    Args:
        channels: C, length of the tail's vector, the first part of a region's vector.
        box_channels: D, length of what the regressors see, the last part (the pool5 maps); it may overlap the first.
        num_classes: K; background is K, inside this head only.
        settings: thresholds, as `BoxHead`.
    """

    loss_names: tuple[str, ...] = ("loss_class",)

    def __init__(self, channels: int, box_channels: int, num_classes: int, **settings: Any) -> None:
        super().__init__(channels, num_classes, stds=(1.0, 1.0, 1.0, 1.0), **settings)
        del self.bbox_pred  # boxes are not learned by gradient steps
        self.channels, self.box_channels = channels, box_channels
        self.ridge = RidgeBoxes(box_channels, num_classes)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (R, C + D) -> logits (R, K + 1) and deltas (R, K, 4), or (R, 1, 4) of zeros before their fit."""
        deltas = self.ridge(vectors[:, -self.box_channels :])
        return self.cls_score(vectors[:, : self.channels]).float(), deltas

    def scores(self, vectors: Tensor, logits: Tensor) -> Tensor:
        """Vectors (R, C + D) and their logits (R, K + 1) -> scores (R, K) in 0 ... 1."""
        return super().scores(vectors[:, : self.channels], logits)

    def losses(self, vectors: Tensor, regions: Regions) -> dict[str, Tensor]:
        """The softmax loss of fine-tuning, divided by the number of sampled regions of the whole batch."""
        logits = self.cls_score(vectors[:, : self.channels]).float()
        count = across_processes(regions.weights.sum()).clamp(min=1)
        return {"loss_class": cross_entropy(logits, regions.labels, regions.weights) / count}

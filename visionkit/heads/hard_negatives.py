"""Learning from the negatives that look most like an object, found anew at every step (OverFeat, sec. 4)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from visionkit.heads.box import BoxHead
from visionkit.ops.hardest import hardest
from visionkit.structures import Regions


class HardNegativeHead(BoxHead):
    """A `BoxHead` that keeps, of an image's background regions, those it is most wrong about.

    Nearly all windows of a picture show background, and the head is soon right about nearly all of these. The classic
    remedy adds the worst mistakes to the training set in passes. OverFeat picks them "on the fly" instead, and so does
    this: the head has just seen all candidates, so the scores are those of today and nothing is stored.

    Args:
        ratio: negatives for each positive of the image (SSD, sec. 2.2: 3).
        least: negatives of an image all the same, also of one without an object.
        options: those of `BoxHead`.
    """

    def __init__(self, channels: int, num_classes: int, *, ratio: float = 3.0, least: int = 8, **options: Any) -> None:
        super().__init__(channels, num_classes, **options)
        self.ratio = ratio
        self.least = least

    def losses(self, vectors: Tensor, regions: Regions) -> dict[str, Tensor]:
        """Those of `BoxHead`, of the positives and of the hardest negatives."""
        return super().losses(vectors, self.keep_hardest(vectors, regions))

    @torch.no_grad()
    def keep_hardest(self, vectors: Tensor, regions: Regions) -> Regions:
        """The regions with weight 0 for the negatives that are not among their image's hardest."""
        logits, _ = self(vectors)  # (R, K + 1)
        background, counts = regions.labels == self.num_classes, regions.weights > 0  # (R,)
        difficulty = -logits.log_softmax(dim=1)[:, self.num_classes]  # (R,), the loss of a negative
        positives = torch.zeros_like(difficulty).index_add(0, regions.image_index, (counts & ~background).float())
        quota = (self.ratio * positives).round().long().clamp(min=self.least)  # (R,), by image
        chosen = hardest(difficulty, counts & background, regions.image_index, quota)
        return replace(regions, weights=regions.weights * (chosen | ~background))

"""The whole R-CNN family: one class with two slots, where regions come from and how a region becomes a vector."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.heads.box import BoxHead
from visionkit.models.encode import Pool
from visionkit.models.pixels import batch_of
from visionkit.models.propose import RPN
from visionkit.ops.boxes import clip, scale
from visionkit.ops.resize import TestResize
from visionkit.structures import Batch, Detections, Proposals, Regions, Targets


class RegionDetector(nn.Module):
    """Propose regions, encode each as a vector, classify and refine it.

    Args:
        propose: (batch, maps, targets or None) -> proposals and their losses. An `RPN`.
        encode: maps of a batch, and the vectors of regions of it. A `Pool`.
        sample: (batch, proposals, targets) -> the regions that the head learns from.
        head: class scores and boxes from vectors.
        resize: how `predict` brings an image to the size of the network.
    """

    def __init__(
        self,
        propose: RPN,
        encode: Pool,
        sample: Callable[[Batch, Proposals, Targets], Regions],
        head: BoxHead,
        resize: TestResize,
    ):
        super().__init__()
        self.propose = propose
        self.encode = encode
        self.sample = sample
        self.head = head
        self.resize = resize

    loss_names = ("loss_objectness", "loss_proposal", "loss_class", "loss_box")
    class_layers = ("head",)  # what has outputs of its own for each class

    @property
    def backbone(self) -> Backbone:
        return self.encode.backbone

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike."""
        maps = self.encode.maps(batch)
        proposals, losses = self.propose(batch, maps, targets)
        regions = self.sample(batch, proposals, targets)
        vectors = self.encode(maps, regions.boxes, regions.image_index)
        return losses | self.head.losses(vectors, regions)

    def detect(self, batch: Batch, original_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detections of each image of a batch in pixels of the original image of size (height, width)."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                return self._detect(batch, original_sizes)
        finally:
            self.train(was_training)

    def _detect(self, batch: Batch, original_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        maps = self.encode.maps(batch)
        proposals, _ = self.propose(batch, maps)
        count = proposals.scores.shape[1]
        image_index = torch.arange(len(original_sizes), device=batch.pixels.device).repeat_interleave(count)  # (B*P,)
        vectors = self.encode(maps, proposals.boxes.flatten(0, 1), image_index)  # (B*P, C)
        sizes = [(height, width) for height, width in batch.sizes.tolist()]
        found = []
        for detections, size, original in zip(
            self.head.detect(vectors, proposals, sizes), sizes, original_sizes, strict=True
        ):
            boxes = scale(detections.boxes, (original[0] / size[0], original[1] / size[1]))
            boxes = clip(boxes, boxes.new_tensor(original))
            found.append(Detections(boxes, detections.scores, detections.labels))
        return found

    def predict(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """RGB images (H, W, 3) uint8 of any sizes -> their detections, each image by itself.

        An image gives the same boxes bit for bit here and in an evaluation at batch size 1.
        """
        device = next(self.parameters()).device
        return [
            self.detect(batch_of(image, self.resize).to(device), [(image.shape[0], image.shape[1])])[0].to("cpu")
            for image in images
        ]

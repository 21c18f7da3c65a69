"""The whole R-CNN family: one class with two slots, where regions come from and how a region becomes a vector."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.heads.mask import MaskHead
from visionkit.models.pixels import batch_of
from visionkit.ops.boxes import clip, scale
from visionkit.ops.paste_masks import paste_masks
from visionkit.ops.resize import TestResize
from visionkit.structures import Batch, Detections, Proposals, Regions, Targets


class Propose(Protocol):
    """Where regions come from: `RPN`, `Given`, `Windows`. A module."""

    @property
    def loss_names(self) -> tuple[str, ...]: ...

    def __call__(
        self, batch: Batch, maps: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]: ...

    def prepare(self, batch: Batch, images: Sequence[np.ndarray]) -> Batch: ...


class Encode(Protocol):
    """How a region becomes a vector: `Pool`, `Warp`, `Dense`. A module.

    `maps` gives what is shared between the regions of a batch, which may be nothing.
    """

    @property
    def backbone(self) -> Backbone: ...

    def maps(self, batch: Batch) -> dict[str, Tensor]: ...

    def __call__(self, batch: Batch, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor) -> Tensor: ...


class Head(Protocol):
    """Class scores and boxes from vectors: `BoxHead`, `SVMBoxHead`. A module."""

    num_classes: int

    @property
    def loss_names(self) -> tuple[str, ...]: ...

    def __call__(self, vectors: Tensor) -> tuple[Tensor, Tensor]: ...

    def losses(self, vectors: Tensor, regions: Regions) -> dict[str, Tensor]: ...

    def detect(self, vectors: Tensor, proposals: Proposals, sizes: Sequence[tuple[int, int]]) -> list[Detections]: ...


class RegionDetector(nn.Module):
    """Propose regions, encode each as a vector, classify and refine it.

    Args:
        propose: (batch, maps, targets or None) -> proposals and their losses.
        encode: maps of a batch, and the vectors of regions of it.
        sample: (batch, proposals, targets) -> the regions that the head learns from.
        head: class scores and boxes from vectors.
        resize: how `predict` brings an image to the size of the network.
        mask: an instance mask for each detection, from the same maps (Mask R-CNN); None for boxes alone. Wants `Pool`
            as `encode`.
    """

    def __init__(
        self,
        propose: Propose,
        encode: Encode,
        sample: Callable[[Batch, Proposals, Targets], Regions],
        head: Head,
        resize: TestResize,
        mask: MaskHead | None = None,
    ):
        super().__init__()
        self.propose = propose
        self.encode = encode
        self.sample = sample
        self.head = head
        self.resize = resize
        self.mask = mask

    class_layers: tuple[str, ...] = ("head", "mask.mask_fcn_logits")  # what has outputs of its own for each class

    @property
    def loss_names(self) -> tuple[str, ...]:
        masks = () if self.mask is None else self.mask.loss_names
        return (*self.propose.loss_names, *self.head.loss_names, *masks)

    @property
    def backbone(self) -> Backbone:
        return self.encode.backbone

    @property
    def wants_masks(self) -> bool:
        """Whether the losses need `Targets.masks`."""
        return self.mask is not None

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike."""
        maps = self.encode.maps(batch)
        proposals, losses = self.propose(batch, maps, targets)
        regions = self.sample(batch, proposals, targets)
        vectors = self.encode(batch, maps, regions.boxes, regions.image_index)
        return losses | self.head.losses(vectors, regions) | self._mask_losses(batch, maps, regions, targets)

    def _mask_losses(
        self, batch: Batch, maps: dict[str, Tensor], regions: Regions, targets: Targets
    ) -> dict[str, Tensor]:
        """Of the foreground among the sampled regions; nothing without a mask head."""
        if self.mask is None:
            return {}
        positive = regions.foreground(self.head.num_classes)
        windows = self._mask_windows(self.mask, maps, positive.boxes, positive.image_index)
        return self.mask.losses(windows, positive, targets, batch.sizes)

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
        sizes = [(height, width) for height, width in batch.sizes.tolist()]
        found = []
        for i, (detections, size, original) in enumerate(
            zip(self._classified(batch, maps, proposals, sizes), sizes, original_sizes, strict=True)
        ):
            boxes = scale(detections.boxes, (original[0] / size[0], original[1] / size[1]))
            boxes = clip(boxes, boxes.new_tensor(original))
            masks = None
            if self.mask is not None:
                image_index = torch.full_like(detections.labels, i)
                windows = self._mask_windows(self.mask, maps, detections.boxes, image_index)
                masks = paste_masks(self.mask.masks(windows, detections.labels), boxes, original)  # (N, H, W)
            found.append(Detections(boxes, detections.scores, detections.labels, masks))
        return found

    def _classified(
        self, batch: Batch, maps: dict[str, Tensor], proposals: Proposals, sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """What the head makes of all proposals, in pixels of the batch."""
        images, count = proposals.scores.shape
        image_index = torch.arange(images, device=batch.pixels.device).repeat_interleave(count)  # (B*P,)
        vectors = self.encode(batch, maps, proposals.boxes.flatten(0, 1), image_index)  # (B*P, C)
        return self.head.detect(vectors, proposals, sizes)

    def _mask_windows(self, mask: MaskHead, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """What the mask head sees of regions (R, 4): their windows, or with `after_tail` these after the tail."""
        encode: Any = self.encode  # a `Pool`
        side = self.backbone.window if mask.after_tail else mask.window
        windows: Tensor = encode.windows(maps, boxes, image_index, side)
        return self.backbone.tail_maps(windows) if mask.after_tail else windows

    def predict(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """RGB images (H, W, 3) uint8 of any sizes -> their detections, each image by itself.

        An image gives the same boxes bit for bit here and in an evaluation at batch size 1.
        """
        device = next(self.parameters()).device
        return [
            self.detect(
                self.propose.prepare(batch_of(image, self.resize).to(device), [image]),
                [(image.shape[0], image.shape[1])],
            )[0].to("cpu")
            for image in images
        ]

"""Classification with one box: the class of a picture's one object, and where it is."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.heads.localize import LocalizeHead
from visionkit.models.pixels import Normalize, batch_of
from visionkit.models.whole_image import whole_image_maps
from visionkit.ops.boxes import area
from visionkit.ops.losses import weighted_sum
from visionkit.ops.reduce import across_processes
from visionkit.ops.square_resize import SquareResize
from visionkit.structures import Batch, Localization, Targets


class Localizer(nn.Module):
    """Trunk and tail once, then two heads.

    Args:
        backbone: trunk and tail; of several region stages (a pyramid) the mean of their tail maps is taken.
        class_head: tail maps to logits (B, K): what `backbone.new_classifier(K)` gives.
        box_head: tail maps to boxes, or where it has no `body` the tail's vector to boxes.
        normalize: pixels to network input.
        resize: how `predict` brings an image to the size of the network.
        box_weight: share of the box loss.
    """

    def __init__(
        self,
        backbone: Backbone,
        class_head: nn.Module,
        box_head: LocalizeHead,
        normalize: Normalize,
        resize: SquareResize,
        box_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.class_head = class_head
        self.box_head = box_head
        self.normalize = normalize
        self.resize = resize
        self.box_weight = box_weight

    loss_names = ("loss_class", "loss_box")

    @property
    def class_layers(self) -> tuple[str, ...]:
        """What has outputs of its own for each class."""
        return ("class_head", "box_head.linear") if self.box_head.boxes > 1 else ("class_head",)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images of one size (B, C, H, W) -> logits (B, K), and deltas (B, 1, 4) or (B, K, 4) of
        `box_head`; float32."""
        maps = whole_image_maps(self.backbone, images)  # (B, C, h, w)
        seen = self.backbone.reduce(maps) if self.box_head.body is None else maps
        return self.class_head(maps).float(), self.box_head(seen)

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike, both means over the pictures that have an
        object. Of several objects the largest is learnt; a picture without one (it was cut off) teaches nothing.

        With a single class `loss_class` is 0.
        """
        logits, deltas = self.outputs(self.normalize(batch))
        labels, boxes, present = largest(targets)
        height, width = batch.sizes.to(boxes.dtype).unbind(1)
        boxes = boxes / torch.stack((width, height, width, height), dim=1)  # (B, 4) in units of the picture
        count = across_processes(present.sum()).clamp(min=1)
        classes = F.cross_entropy(logits, labels, reduction="none")  # (B,)
        return {
            "loss_class": weighted_sum(classes, present) / count,
            "loss_box": self.box_weight * weighted_sum(self.box_head.errors(deltas, labels, boxes), present) / count,
        }

    def localize(self, batch: Batch, original_sizes: Sequence[tuple[int, int]]) -> list[Localization]:
        """What each image of a batch shows and where, in pixels of the original of (height, width)."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                logits, deltas = self.outputs(self.normalize(batch))
                boxes = self.box_head.decode(deltas).expand(-1, logits.shape[1], 4)  # (B, K, 4)
        finally:
            self.train(was_training)
        found = []
        for probabilities, own, (height, width) in zip(logits.softmax(dim=1), boxes, original_sizes, strict=True):
            found.append(Localization(probabilities, own * own.new_tensor([width, height, width, height])))
        return found

    def predict(self, images: Sequence[np.ndarray]) -> list[Localization]:
        """RGB images (H, W, 3) uint8 of any sizes -> the probability of every class and its box, each image by
        itself."""
        device = next(self.parameters()).device
        return [
            self.localize(batch_of(image, self.resize).to(device), [(image.shape[0], image.shape[1])])[0].to("cpu")
            for image in images
        ]


def largest(targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """The largest object of each picture: labels (B,), boxes (B, 4), and whether there is one, (B,) float32.

    Crowds and difficult objects do not count.
    """
    counted = targets.valid & ~targets.crowd  # (B, G)
    best = torch.where(counted, area(targets.boxes), -1.0).argmax(dim=1)  # (B,)
    rows = torch.arange(len(best), device=best.device)
    return targets.labels[rows, best], targets.boxes[rows, best], counted.any(dim=1).float()

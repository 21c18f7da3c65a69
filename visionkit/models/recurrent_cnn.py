"""Pinheiro and Collobert, "Recurrent Convolutional Neural Networks for Scene Labeling" (2014): a network that corrects
itself, looking at the picture again beside what it said of it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from visionkit.backbones.base import Backbone
from visionkit.heads.pixel_classifier import PixelClassifier
from visionkit.models.pixels import Normalize
from visionkit.models.segmenter import Segmenter
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize
from visionkit.ops.upsample import resize_maps
from visionkit.structures import Batch, Targets


class RecurrentCNN(Segmenter):
    """The same network applied several times (sec. 3.2). An instance takes the picture and class scores as further
    channels: zeros at first, then those of the instance before, with the picture shrunk to their size. So each sees
    more of the picture, and what was said of it. All learn, through all that come before, and the last one predicts.

    The paper gets a score for every pixel by shifting the picture; here the last instance's are resized.

    Args:
        backbone: whose first layer takes `num_classes` further channels (`backbones.more_inputs`).
        decoder: maps of one of its stages to class scores.
        normalize, resize, num_classes: see `Segmenter`.
        instances: how often the network is applied, at least 1.
        widened: the name of that first layer in the backbone.
    """

    decoder: PixelClassifier

    def __init__(
        self,
        backbone: Backbone,
        decoder: PixelClassifier,
        normalize: Normalize,
        resize: TestResize | KeepSize,
        num_classes: int,
        instances: int,
        widened: str,
    ) -> None:
        super().__init__(backbone, decoder, normalize, resize, num_classes)
        self.instances = instances
        self._widened = widened

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("loss_class", "loss_earlier") if self.instances > 1 else ("loss_class",)

    @property
    def class_layers(self) -> tuple[str, ...]:
        return (*super().class_layers, f"backbone.{self._widened}.extra")

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike: `loss_class` of the last instance, and
        `loss_earlier`, the sum of those before it. Means as for `Segmenter`."""
        if targets.semantic is None:
            raise ValueError("a segmenter learns from Targets.semantic")
        *earlier, last = [
            self._loss(scores, targets.semantic) for scores in self.instance_scores(self.normalize(batch))
        ]
        return {"loss_class": last} | ({"loss_earlier": torch.stack(earlier).sum()} if earlier else {})

    def instance_scores(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, C, H, W) -> the class scores (B, K, H, W) float32 of every instance, the last one's
        last."""
        height, width = images.shape[-2:]
        down, right = self._padding(height), self._padding(width)
        images = F.pad(images, (0, right, 0, down))
        canvas = (height + down, width + right)
        scores = images.new_zeros(len(images), self.num_classes, *canvas)
        found = []
        for _ in range(self.instances):
            seen = torch.cat(_shrunk(images, scores, self.backbone.min_size), dim=1)  # (B, C + K, h, w)
            stage = self.decoder.stages[0]
            scores = self.decoder.coarse(self.backbone(seen, (stage,))[stage])  # (B, K, h, w)
            found.append(resize_maps(scores, canvas)[:, :, :height, :width].float())
        return found

    def _scores(self, images: Tensor, extra: tuple[str, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.instance_scores(images)[-1], {}


def _shrunk(images: Tensor, scores: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Images and scores at the size of the scores, or at the least that the network takes where that is more."""
    height, width = (max(side, least) for side in scores.shape[-2:])
    if images.shape[-2:] != (height, width):
        images = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return images, resize_maps(scores, (height, width))

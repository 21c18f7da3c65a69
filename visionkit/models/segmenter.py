"""Semantic segmentation: a trunk, perhaps its tail over the whole picture, and a decoder back to pixels."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.models.dense_tail import TAIL, covering_tail, region_stage, tail_margin
from visionkit.models.pixels import Normalize, batch_of
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.losses import pixel_cross_entropy
from visionkit.ops.reduce import across_processes
from visionkit.ops.resize import TestResize
from visionkit.ops.upsample import resize_maps
from visionkit.structures import Batch, Segmentation, Targets


class Decoder(Protocol):
    """From maps of a backbone to class scores of pixels: `FCNHead`, `DeconvNetHead`, `UNetHead` ... A module."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The maps that it wants, "tail" being those of the backbone's dense tail."""

    @property
    def covering_tail(self) -> bool:
        """Whether the tail's maps cover the picture (zeros around the region map make up for what an unpadded tail
        loses at the border); otherwise there is one vector for each whole window."""

    @property
    def multiple(self) -> int:
        """What the sides of the picture have to be multiples of, pixels; the model pads."""

    @property
    def least(self) -> int:
        """What they have to be at least, pixels."""

    @property
    def class_layers(self) -> tuple[str, ...]:
        """Names of what has outputs of its own for each class."""

    def __call__(self, maps: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
        """The maps (B, C, h, w) of `stages` -> class scores (B, K, *size), size being that of the (padded) picture."""


class Segmenter(nn.Module):
    """One class for each pixel.

    Args:
        backbone: the trunk, and its tail where the decoder asks for it.
        decoder: maps to class scores at the size of the picture.
        normalize: pixels to network input.
        resize: how `predict` brings an image to the size of the network.
        num_classes: K.
        aux: auxiliary heads on inner stages, by stage name: maps to coarse class scores; of use in training only.
        aux_weight: their share of the loss.
    """

    class_weights: Tensor  # (K,) float32, of each class in the loss; 1 unless `fit_class_weights` set them

    def __init__(
        self,
        backbone: Backbone,
        decoder: Decoder,
        normalize: Normalize,
        resize: TestResize | KeepSize,
        num_classes: int,
        aux: nn.ModuleDict | None = None,
        aux_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.normalize = normalize
        self.resize = resize
        self.num_classes = num_classes
        self.aux = nn.ModuleDict() if aux is None else aux
        self.aux_weight = aux_weight
        self.register_buffer("class_weights", torch.ones(num_classes))
        wants_tail = TAIL in decoder.stages
        self._tail_from = region_stage(backbone) if wants_tail else None
        self._margin = tail_margin(backbone) if wants_tail and decoder.covering_tail else 0

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("loss_class", "loss_aux") if len(self.aux) else ("loss_class",)

    @property
    def class_layers(self) -> tuple[str, ...]:
        """What has outputs of its own for each class."""
        return (*(f"decoder.{name}" for name in self.decoder.class_layers), "aux", "class_weights")

    def logits(self, batch: Batch) -> Tensor:
        """Images of any size -> class scores (B, K, H, W) float32 of every pixel of the canvas."""
        return self.scores(self.normalize(batch))

    def scores(self, images: Tensor) -> Tensor:
        """Normalised images of one size (B, C, H, W) -> class scores (B, K, H, W) float32."""
        return self._scores(images, ())[0]

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike: `loss_class`, and `loss_aux` if there are
        auxiliary heads. Means over the labelled pixels of all processes' batches, each weighted by its class; 0 where
        no pixel is labelled."""
        if targets.semantic is None:
            raise ValueError("a segmenter learns from Targets.semantic")
        scores, maps = self._scores(self.normalize(batch), tuple(self.aux))
        losses = {"loss_class": self._loss(scores, targets.semantic)}
        if len(self.aux):
            size = (scores.shape[2], scores.shape[3])
            extra = [
                self._loss(resize_maps(head(maps[stage]).float(), size), targets.semantic)
                for stage, head in self.aux.items()
            ]
            losses["loss_aux"] = self.aux_weight * torch.stack(extra).sum()
        return losses

    def segment(self, batch: Batch, originals: Sequence[tuple[int, int]]) -> list[Segmentation]:
        """The class of each pixel, at the sizes (height, width) of the original images; as after training."""
        return [segmentation(scores) for scores in self.probabilities(batch, originals)]

    def probabilities(self, batch: Batch, originals: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The probability of every class, (K, H, W) float32 for each image, at the sizes of the originals. Scores are
        resized before the softmax."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                scores = self.logits(batch)
                found = []
                for own, (height, width), original in zip(scores, batch.sizes.tolist(), originals, strict=True):
                    whole = resize_maps(own[None, :, :height, :width], original)  # (1, K, H, W)
                    found.append(whole[0].softmax(dim=0))
                return found
        finally:
            self.train(was_training)

    def predict(self, images: Sequence[np.ndarray]) -> list[Segmentation]:
        """RGB images (H, W, 3) uint8 of any sizes -> the class of every pixel, each image by itself; on the CPU."""
        device = next(self.parameters()).device
        found = []
        for image in images:
            original = (image.shape[0], image.shape[1])
            found += [one.to("cpu") for one in self.segment(batch_of(image, self.resize).to(device), [original])]
        return found

    def _scores(self, images: Tensor, extra: tuple[str, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        """Class scores (B, K, H, W), and the maps of the `extra` stages."""
        height, width = images.shape[-2:]
        down, right = self._padding(height), self._padding(width)
        if down or right:
            images = F.pad(images, (0, right, 0, down))
        inner = (*extra, *(name for name in self.decoder.stages if name != TAIL))
        tail_from = () if self._tail_from is None else (self._tail_from,)
        maps = self.backbone(images, tuple(dict.fromkeys((*inner, *tail_from))))
        wanted = {name: maps[name] for name in self.decoder.stages if name != TAIL}
        if self._tail_from is not None:
            wanted[TAIL] = covering_tail(self.backbone, maps[self._tail_from], self._margin)
        scores = self.decoder(wanted, (height + down, width + right))
        return scores[:, :, :height, :width].float(), maps

    def _padding(self, side: int) -> int:
        """Pixels of zeros that a side needs for the decoder and the backbone: two cells of the coarsest map at least,
        since a batch norm cannot learn from a single one."""
        multiple = self.decoder.multiple
        least = max(side, self.decoder.least, self.backbone.min_size, 2 * multiple)
        return -(-least // multiple) * multiple - side

    def _loss(self, scores: Tensor, semantic: Tensor) -> Tensor:
        total, weight = pixel_cross_entropy(scores, semantic, self.class_weights)
        whole = across_processes(weight)
        return total / whole.clamp(min=torch.finfo(whole.dtype).tiny)


def segmentation(probabilities: Tensor) -> Segmentation:
    """Probabilities (K, H, W) -> the best class of every pixel, the first among equals."""
    scores, labels = probabilities.max(dim=0)
    return Segmentation(labels, scores)

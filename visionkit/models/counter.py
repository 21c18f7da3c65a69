"""Counting by density: a trunk, and a head whose map sums to the number of objects."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.heads.density import DensityHead
from visionkit.models.pixels import Normalize, batch_of
from visionkit.ops.density import cells_inside, density_map
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.reduce import across_processes
from visionkit.ops.resize import TestResize
from visionkit.structures import Batch, Density, Targets


class Counter(nn.Module):
    """A density map, and with it a count, for pictures of any size.

    Args:
        backbone: the trunk.
        head: its maps to a density map.
        normalize: pixels to network input.
        resize: how `predict` brings an image to the size of the network.
        density_weight: what the squared errors of the cells are multiplied by.
        count_weight: what the relative error of the count is multiplied by; 0 = it is no loss.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: DensityHead,
        normalize: Normalize,
        resize: TestResize | KeepSize,
        density_weight: float = 1.0,
        count_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalize = normalize
        self.resize = resize
        self.density_weight = density_weight
        self.count_weight = count_weight

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("loss_density", "loss_count") if self.count_weight else ("loss_density",)

    @property
    def class_layers(self) -> tuple[str, ...]:
        """What has outputs of its own for each class: nothing, as there is one class."""
        return ()

    def density(self, batch: Batch) -> Tensor:
        """Images of any size -> (B, h, w) float32: objects in each cell of a grid of `head.stride` pixels over the
        canvas; 0 in cells that show nothing but padding."""
        found = self.scores(self.normalize(batch))  # (B, h, w)
        cell = (self.head.stride, self.head.stride)
        return found * cells_inside(batch.sizes, (found.shape[1], found.shape[2]), cell)

    def scores(self, images: Tensor) -> Tensor:
        """Normalised images (B, C, H, W) -> (B, h, w) float32: objects in each cell, padding's cells included."""
        down, right = (self._padding(side) for side in images.shape[-2:])
        if down or right:
            images = F.pad(images, (0, right, 0, down))
        stride = self.head.stride
        grid = (images.shape[-2] // stride, images.shape[-1] // stride)
        found: Tensor = self.head(self.backbone(images, self.head.stages), grid)  # (B, h, w)
        return found

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike, means over the pictures of all processes.

        `loss_density`: half the sum of the squared errors of a picture's cells (MCNN, eq. 3), times its weight.
        `loss_count`: the absolute error of the count over the count (or over 1, without objects), times its weight; the
        first alone is content with a picture that is a little too full everywhere.
        """
        if targets.points is None or targets.points_valid is None:
            raise ValueError("a counter learns from Targets.points")
        found = self.density(batch)  # (B, h, w)
        grid, cell = (found.shape[1], found.shape[2]), (self.head.stride, self.head.stride)
        wanted = density_map(targets.points, targets.points_valid, batch.sizes, grid, cell)  # (B, h, w)
        pictures = across_processes(found.new_tensor(float(len(found))))
        squares = 0.5 * (found - wanted).square().sum()
        losses = {"loss_density": self.density_weight * squares / pictures}
        if self.count_weight:
            counts = targets.points_valid.sum(dim=1)  # (B,)
            errors = (found.sum(dim=(1, 2)) - counts).abs() / counts.clamp(min=1)  # (B,)
            losses["loss_count"] = self.count_weight * errors.sum() / pictures
        return losses

    def count(self, batch: Batch, originals: Sequence[tuple[int, int]]) -> list[Density]:
        """The density maps of the pictures without their padding; as after training. The cells are those of the resized
        picture, the last ones perhaps in part outside, so the sizes (height, width) of the originals change nothing."""
        was_training, stride = self.training, self.head.stride
        self.eval()
        try:
            with torch.inference_mode():
                found = self.density(batch)  # (B, h, w)
                sizes = zip(found, batch.sizes.tolist(), originals, strict=True)
                return [Density(own[: -(-size[0] // stride), : -(-size[1] // stride)]) for own, size, _ in sizes]
        finally:
            self.train(was_training)

    def predict(self, images: Sequence[np.ndarray]) -> list[Density]:
        """RGB images (H, W, 3) uint8 of any sizes -> the density of each, each image by itself; on the CPU."""
        device = next(self.parameters()).device
        found = []
        for image in images:
            original = (image.shape[0], image.shape[1])
            found += [one.to("cpu") for one in self.count(batch_of(image, self.resize).to(device), [original])]
        return found

    def _padding(self, side: int) -> int:
        """Pixels of zeros that a side needs for the head and the backbone."""
        return -(-max(side, self.backbone.min_size) // self.head.multiple) * self.head.multiple - side

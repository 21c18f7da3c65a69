"""Detection with a fixed list of boxes and nothing else: how far plain regression gets."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.heads.fixed_boxes import FixedBoxesHead
from visionkit.models.pixels import Normalize, batch_of
from visionkit.models.whole_image import whole_image_maps
from visionkit.ops.square_resize import SquareResize
from visionkit.structures import Batch, Detections, Targets


class BoxList(nn.Module):
    """Trunk, tail, and a head with a fixed number of slots.

    Args:
        backbone: trunk and tail.
        head: tail maps to slots.
        normalize: pixels to network input.
        resize: how `predict` brings an image to the size of the network.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: FixedBoxesHead,
        normalize: Normalize,
        resize: SquareResize,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalize = normalize
        self.resize = resize

    loss_names = ("loss_class", "loss_box")
    class_layers = ("head.cls_score",)  # what has outputs of its own for each class

    def maps(self, batch: Batch) -> Tensor:
        """Images of one size -> tail maps (B, C, h, w)."""
        return whole_image_maps(self.backbone, self.normalize(batch))

    def forward(self, batch: Batch, targets: Targets) -> dict[str, Tensor]:
        """Named scalar losses, in training and in evaluation mode alike."""
        return self.head.losses(self.maps(batch), targets, batch.sizes)

    def detect(self, batch: Batch, original_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detections of each image of a batch in pixels of the original image of size (height, width)."""
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                return self.head.detect(self.maps(batch), original_sizes)
        finally:
            self.train(was_training)

    def predict(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """RGB images (H, W, 3) uint8 of any sizes -> their detections, each image by itself."""
        device = next(self.parameters()).device
        return [
            self.detect(batch_of(image, self.resize).to(device), [(image.shape[0], image.shape[1])])[0].to("cpu")
            for image in images
        ]

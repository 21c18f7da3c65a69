"""R-CNN's `encode` slot: each region is warped to a picture of its own and goes through the whole network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.models.pixels import Normalize
from visionkit.ops.warp import warp
from visionkit.structures import Batch

CELLS = 6  # most cells a side of what the box regressors see: AlexNet's pool5 exactly, and others stay bounded
AT_A_TIME = 16 * 224 * 224  # pixels of crops encoded together when no gradient is needed; more is no faster on a CPU


class Warp(nn.Module):
    """Regions as warped crops (R-CNN, sec. 2.1, app. A). Nothing is shared between the regions of an image.

    Args:
        backbone: trunk and tail; one region stage.
        normalize: pixels to network input.
        side: of the crops, pixels.
        context: pixels around the object in the warped crop; less than side / 2.
        with_maps: whether vectors go on with the maps that the tail is fed (pool5), which the box regressors see.
    """

    def __init__(
        self, backbone: Backbone, normalize: Normalize, side: int, context: float, with_maps: bool = True
    ) -> None:
        super().__init__()
        if len(backbone.region_stages) != 1:
            raise ConfigError(
                "R-CNN sends each region through a network as a picture of its own, which a pyramid is of no use for: "
                "choose a backbone without FPN, such as backbone=alexnet, vgg16 or resnet18."
            )
        self.backbone = backbone
        self.normalize = normalize
        self.side = side
        self.context = context
        self.with_maps = with_maps
        self.channels = backbone.out_channels
        self.map_channels = self._map_channels() if with_maps else 0

    def maps(self, batch: Batch) -> dict[str, Tensor]:
        """None: that nothing can be shared is what makes R-CNN slow."""
        return {}

    def forward(self, batch: Batch, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Regions (R, 4) of images (R,) -> vectors (R, channels + map_channels): the tail's vector, then the maps."""
        if len(boxes) == 0 and not torch.is_grad_enabled():
            return self.normalize.mean.new_zeros(0, self.channels + self.map_channels)
        images = self.normalize(batch)  # (B, C, H, W)
        size = max(1, len(boxes)) if torch.is_grad_enabled() else max(1, AT_A_TIME // self.side**2)
        vectors = [
            self._encoded(warp(images, some, index, batch.sizes, self.side, self.context))
            for some, index in zip(boxes.split(size), image_index.split(size), strict=True)
        ]
        return torch.cat(vectors)  # (R, channels + map_channels)

    def _encoded(self, crops: Tensor) -> Tensor:
        """Crops (R, C, side, side) -> vectors (R, channels + map_channels)."""
        name = self.backbone.region_stages[0]
        windows = self.backbone.pool(self.backbone(crops, (name,))[name])  # (R, C, w, w)
        vectors = self.backbone.tail(windows)  # (R, channels)
        if not self.with_maps:
            return vectors
        seen = windows.detach()  # regressors are fitted to them; no gradient ever comes back
        cells = min(CELLS, seen.shape[2])
        return torch.cat((vectors, F.adaptive_avg_pool2d(seen, cells).flatten(1).to(vectors.dtype)), dim=1)

    @torch.no_grad()
    def _map_channels(self) -> int:
        """Found by looking: strides do not tell what unpadded layers cut off."""
        was_training = self.backbone.training
        self.backbone.eval()  # a picture of zeros would spoil running statistics
        zeros = self.normalize.mean.new_zeros(1, self.normalize.mean.shape[1], self.side, self.side)
        found = self._encoded(zeros).shape[1] - self.channels
        self.backbone.train(was_training)
        return found

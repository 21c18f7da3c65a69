"""How a region becomes a vector: the `encode` slot of a `RegionDetector`."""

from typing import Literal

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.models.pixels import Normalize
from visionkit.ops.roi_pool import assign_levels, roi_align, roi_pool
from visionkit.structures import Batch


class Pool(nn.Module):
    """Regions cut out of shared maps (SPP-net, Fast R-CNN sec. 2.1), pooled to the window and sent through the tail.

    Args:
        backbone: trunk and tail.
        normalize: pixels to network input.
        method: "align" (Mask R-CNN, sec. 3) or "pool" (Fast R-CNN; one region stage only).
        sampling: sample points per cell side of RoIAlign.
        aligned: whether RoIAlign shifts boxes by half a cell (detectron2's "ROIAlignV2").
        chunk: regions encoded at a time when no gradient is needed; bounds the memory of convolutional tails.
    """

    def __init__(
        self,
        backbone: Backbone,
        normalize: Normalize,
        *,
        method: Literal["align", "pool"] = "align",
        sampling: int = 2,
        aligned: bool = False,
        chunk: int = 512,
    ):
        super().__init__()
        if method == "pool" and len(backbone.region_stages) > 1:
            raise ConfigError("pooling=pool cuts regions from one stage; with several (FPN) use pooling=align.")
        self.backbone = backbone
        self.normalize = normalize
        self.method = method
        self.sampling = sampling
        self.aligned = aligned
        self.chunk = chunk

    def maps(self, batch: Batch) -> dict[str, Tensor]:
        """The maps that proposals and regions are taken from, by stage name."""
        return self.maps_of(self.normalize(batch))

    def maps_of(self, images: Tensor) -> dict[str, Tensor]:
        """The same from normalised images (B, C, H, W)."""
        names = tuple(dict.fromkeys((*self.backbone.region_stages, *self.backbone.proposal_stages)))
        return self.backbone(images, names)

    def windows(self, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor, window: int) -> Tensor:
        """Regions (R, 4) of images (R,) -> pooled windows (R, C, window, window)."""
        names = self.backbone.region_stages
        strides = [self.backbone.stages[name].stride for name in names]
        if self.method == "pool":
            return roi_pool(maps[names[0]], boxes, image_index, strides[0], window)
        levels = None
        if len(names) > 1:
            lowest = strides[0].bit_length() - 1  # p2 has stride 4: level = log2(stride)
            levels = assign_levels(boxes, lowest, lowest + len(names) - 1)  # (R,)
        chosen = [maps[name] for name in names]
        return roi_align(chosen, boxes, image_index, strides, window, self.sampling, levels, self.aligned)

    def forward(self, batch: Batch, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Regions (R, 4) of images (R,) -> vectors (R, out_channels). The batch itself is not looked at."""
        size = max(1, len(boxes)) if torch.is_grad_enabled() else self.chunk
        vectors = [
            self.backbone.tail(self.windows(maps, some, index, self.backbone.window))
            for some, index in zip(boxes.split(size), image_index.split(size), strict=True)
        ]
        return torch.cat(vectors)  # (R, out_channels)

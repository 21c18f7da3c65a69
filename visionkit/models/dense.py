"""The vectors of sliding windows: the `encode` slot of a sliding-window detector, densely or one crop at a time."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.models.pixels import Normalize
from visionkit.ops.offset_pool import at_every_offset
from visionkit.ops.window_pyramid import WindowPyramid
from visionkit.structures import Batch


class Dense(nn.Module):
    """The whole network run over every level once, its tail as convolutions (OverFeat, sec. 3.5).

    Neighbouring windows share nearly all that is computed. Boxes have to be those that the pyramid made.

    Args:
        backbone: trunk and tail, with one region stage.
        normalize: pixels to network input.
        pyramid: `sliding_windows.window_pyramid` of the backbone. With a `step` less than the tail's own stride the
            last pool runs at every offset.
    """

    def __init__(self, backbone: Backbone, normalize: Normalize, pyramid: WindowPyramid) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize = normalize
        self.pyramid = pyramid

    def maps(self, batch: Batch) -> dict[str, Tensor]:
        """Per level ("level0" ...) the vectors of its windows (B, out_channels, rows, columns)."""
        images = self.normalize(batch)
        levels = (self.pyramid.level(images, batch.sizes, scale) for scale in self.pyramid.scales)
        return {f"level{i}": self._vectors(level) for i, level in enumerate(levels)}

    def _vectors(self, level: Tensor) -> Tensor:
        (name,), window = self.backbone.region_stages, self.backbone.dense_window
        region_map = self.backbone(level, (name,))[name]  # (B, C, h, w)
        fine = self.pyramid.step < self.backbone.stages[name].stride * self.backbone.dense_stride
        if fine:
            found = at_every_offset(self._windows, region_map, window, self.backbone.dense_stride)
        else:
            found = self._windows(region_map)
        outer = self.pyramid.margin // self.pyramid.step
        return found[..., outer : found.shape[-2] - outer, outer : found.shape[-1] - outer]

    def _windows(self, region_map: Tensor) -> Tensor:
        """Region map (B, C, h, w) -> the vectors (B, out_channels, rows, columns) at the tail's own stride."""
        maps = self.backbone.dense_tail(region_map)  # (B, C', h', w')
        windows = (region_map.shape[-1] - self.backbone.dense_window) // self.backbone.dense_stride + 1
        extent = maps.shape[-1] - windows + 1  # cells that one window's vector is the mean of
        return maps if extent == 1 else F.avg_pool2d(maps, extent, stride=1)

    def forward(self, batch: Batch, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Windows (R, 4) of images (R,) -> vectors (R, out_channels)."""
        table = torch.cat([level.flatten(2) for level in maps.values()], dim=2)  # (B, out_channels, N)
        places = self.pyramid.positions(boxes, batch.pixels.shape[-2:])  # (R,)
        return table.transpose(1, 2).flatten(0, 1)[image_index * table.shape[2] + places]


class Crops(nn.Module):
    """The naive way: every window cut out of its level and sent through the whole network by itself.

    On a network without padding `Dense` gives the same vectors. With padding the border of a crop is not that of a
    level; then a margin, wide enough that the window's cells see nothing of the border, makes them the same again.

    Args:
        backbone, normalize, pyramid: as for `Dense`. The crops have the pyramid's margin around them, of which only
            the cells of the window are kept.
        chunk: windows sent through the network at a time when no gradient is needed.
    """

    def __init__(self, backbone: Backbone, normalize: Normalize, pyramid: WindowPyramid, chunk: int = 32) -> None:
        super().__init__()
        stride = backbone.stages[backbone.region_stages[0]].stride
        if pyramid.margin % (stride * backbone.dense_stride):
            raise ConfigError(f"margin={pyramid.margin} is no multiple of {stride * backbone.dense_stride} pixels.")
        self.backbone = backbone
        self.normalize = normalize
        self.pyramid = pyramid
        self.chunk = chunk

    def maps(self, batch: Batch) -> dict[str, Tensor]:
        """Per level ("level0" ...) its normalised pixels (B, 3, h, w)."""
        images = self.normalize(batch)
        scales = enumerate(self.pyramid.scales)
        return {f"level{i}": self.pyramid.level(images, batch.sizes, scale) for i, scale in scales}

    def forward(self, batch: Batch, maps: dict[str, Tensor], boxes: Tensor, image_index: Tensor) -> Tensor:
        """Windows (R, 4) of images (R,) -> vectors (R, out_channels)."""
        canvas, side = batch.pixels.shape[-2:], self.pyramid.view + 2 * self.pyramid.margin
        corners = []  # (level, y, x) of every window of the pyramid, in its order
        for name, scale in zip(maps, self.pyramid.scales, strict=True):
            rows, columns = self.pyramid.grid(canvas, scale)
            steps = ((y * self.pyramid.step, x * self.pyramid.step) for y in range(rows) for x in range(columns))
            corners += [(name, y, x) for y, x in steps]
        places = self.pyramid.positions(boxes, canvas).tolist()
        wanted = [(image, *corners[place]) for image, place in zip(image_index.tolist(), places, strict=True)]
        size = max(1, len(wanted)) if torch.is_grad_enabled() else self.chunk
        vectors = []
        for first in range(0, max(1, len(wanted)), size):
            crops = [maps[n][i, :, y : y + side, x : x + side] for i, n, y, x in wanted[first : first + size]]
            some = torch.stack(crops) if crops else maps["level0"].new_zeros(0, len(self.backbone.mean), side, side)
            vectors.append(self._tail(some))
        return torch.cat(vectors)  # (R, out_channels)

    def _tail(self, crops: Tensor) -> Tensor:
        """Crops (r, 3, side, side) -> vectors (r, out_channels)."""
        backbone, (name,) = self.backbone, self.backbone.region_stages
        region_map = backbone(crops, (name,))[name]  # (r, C, h, h)
        outer = self.pyramid.margin // backbone.stages[name].stride  # cells
        if outer == 0 or backbone.dense_exact:
            return backbone.tail(backbone.pool(_middle(region_map, outer)))
        windows = 2 * outer // backbone.dense_stride  # that lie beside the middle one
        maps = backbone.dense_tail(region_map)  # (r, C', h', h')
        return backbone.reduce(_middle(maps, windows // 2))


def _middle(maps: Tensor, outer: int) -> Tensor:
    """Maps (..., h, w) without `outer` cells on each side."""
    return maps[..., outer : maps.shape[-2] - outer, outer : maps.shape[-1] - outer]

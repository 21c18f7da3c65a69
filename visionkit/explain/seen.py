"""Which pixels the units of a named layer see: its receptive field, followed exactly (`analysis.receptive_field`)."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visionkit.analysis.receptive_field import Field
from visionkit.analysis.trace import Trace
from visionkit.errors import ConfigError
from visionkit.explain.layer_maps import layer_maps
from visionkit.explain.layers import backbones_of

Box = tuple[int, int, int, int]  # x1 y1 x2 y2, pixels


@dataclass(frozen=True)
class Seen:
    """What the units of a layer see of images of one size.

    Attributes:
        field: by cell.
        image: (height, width) of the images.
        channels: of the layer.
        gated: maps before it were multiplied by vectors of the whole image (squeeze and excitation), which the field
            leaves out.
    """

    field: Field
    image: tuple[int, int]
    channels: int
    gated: bool

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what a unit sees, pixels."""
        return self.field.size

    @property
    def larger_than_image(self) -> bool:
        return self.size[0] > self.image[0] or self.size[1] > self.image[1]

    def box(self, y: int, x: int) -> Box:
        """The pixels that the cell (y, x) sees, those outside the image included: borders cut nothing off."""
        (top, bottom), (left, right) = self.field.y.sees(y), self.field.x.sees(x)
        return left, top, right + 1, bottom + 1


@torch.no_grad()
def seen_by(model: nn.Module, layer: str, image: tuple[int, int]) -> Seen:
    """What the units of a layer see of images (height, width), found on the meta device: no numbers, no memory.

    Raises:
        ConfigError: no such layer, or one whose field cannot be followed (as through attention or shifts).
    """
    copied = shadow(model).eval()
    channels = len(backbones_of(model)[0].mean)
    with FieldTrace() as trace:
        images = trace.start(torch.empty(1, channels, *image, device="meta"), Field())
        maps = layer_maps(copied, layer, images)
    field = trace.field_of(maps)
    if field is None:
        raise ConfigError(f"layer={layer}: what its units see cannot be followed, choose a layer before it.")
    return Seen(field, image, maps.shape[1], trace.scaled)


class FieldTrace(Trace):
    """A trace that can be asked for more than its layers: what the cells of any tensor made in it see."""

    def field_of(self, tensor: Tensor) -> Field | None:
        return self._known[id(tensor)][1]


def shadow(model: nn.Module) -> nn.Module:
    """A copy on the meta device; no weight is copied on the way."""
    memo: dict[int, Tensor] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, memo)  # type: ignore[arg-type]

"""The one idea: a backbone is a trunk (image to named maps) and a tail (a window of one map to a vector).

A region pooled to the window has the shape that a whole image has there, so one tail serves classification,
localization, R-CNN, Fast and Faster R-CNN, sliding windows and FCN.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

from torch import Tensor, nn


class Stage(NamedTuple):
    """A named map of the trunk."""

    channels: int
    stride: int  # input pixels per map cell


class Backbone(nn.Module):
    """Contract of every network of the line; `tests/contracts/backbone.py` checks it.

    Attributes:
        stages: the maps `forward` can give, by name: "c0" ... "c5" by level, and further names ("pool3"). Nobody
            reads a stride from a name.
        region_stages: where regions are cut: ("c4",), or ("p2", "p3", "p4", "p5").
        proposal_stages: where an RPN looks: the same, or ("p2", ..., "p6").
        window: side of the tail's input, in map cells.
        out_channels: length of the tail's vector.
        color: "rgb" or "gray".
        min_size: the smallest image side it takes, in pixels.
        dense_stride: stride of `dense_tail`'s output in cells of the region map.
        dense_exact: whether `dense_tail` equals the tail on every window (padding makes it approximate).
        weights_url: the published ImageNet weights of this network ("" where there are none); set by its builder.
        classifier_keys: prefixes of published keys that belong to `classifier(...)`, with the prefix they have there.
        dropped_keys: prefixes of published keys whose parts `drop_tail` removed.
        load_report: what was loaded from a weights file (`pretrained.LoadReport`, one line as text); None without.
    """

    stages: dict[str, Stage]
    region_stages: tuple[str, ...]
    proposal_stages: tuple[str, ...]
    window: int
    out_channels: int
    color: str = "rgb"
    min_size: int = 32
    dense_stride: int = 1
    dense_exact: bool = False
    weights_url: str = ""
    classifier_keys: Mapping[str, str] = MappingProxyType({})
    dropped_keys: tuple[str, ...] = ()
    load_report: object | None = None

    @abstractmethod
    def forward(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Normalised images (B, 3, H, W) float -> the named maps (B, C, h, w); computes no further than needed.

        Raises KeyError naming the known stages when a name is not one of them.
        """

    def pool(self, region_map: Tensor) -> Tensor:
        """Whole-image region map (B, C, h, w) -> the tail's input. Identity unless the network is fc-tailed."""
        return region_map

    @abstractmethod
    def tail_maps(self, windows: Tensor) -> Tensor:
        """Windows (R, C, w, w) -> maps (R, C', h', w') just before they are reduced to a vector."""

    def reduce(self, maps: Tensor) -> Tensor:
        """Tail maps (R, C', h', w') -> vectors (R, out_channels). Global average unless overridden."""
        return maps.mean(dim=(2, 3))

    def tail(self, windows: Tensor) -> Tensor:
        """Windows (R, C, w, w) -> vectors (R, out_channels)."""
        return self.reduce(self.tail_maps(windows))

    def dense_tail(self, region_map: Tensor) -> Tensor:
        """The tail over a whole map: (B, C, h, w) -> (B, out_channels, h', w') at `dense_stride`."""
        return self.tail_maps(region_map)

    @abstractmethod
    def classifier(self, num_classes: int) -> nn.Module:
        """The network's own head on windows: (R, C, w, w) -> logits (R, num_classes)."""

    def parts(self) -> dict[str, tuple[nn.Module, ...]]:
        """By stage, in order of execution: the modules that lead to it from the stage before."""
        raise NotImplementedError(f"{type(self).__name__} does not state its parts")

    def drop_tail(self, names: Sequence[str]) -> None:
        """Delete every part that the named stages do not need, so that no parameter goes unused under a neck."""
        raise NotImplementedError(f"{type(self).__name__} cannot drop its tail")

    def innermost(self) -> "Backbone":
        """The network that published weights fit and whose stages can be frozen: itself, or the body of a neck."""
        return self

    def train(self, mode: bool = True) -> Self:
        """As in torch, but a batch norm whose weight takes no gradient keeps its running statistics.

        Derived from `requires_grad` each time, so that freezing and unfreezing need no state of their own.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self

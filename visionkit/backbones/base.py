"""The one idea: a backbone is a trunk (image to named maps) and a tail (a window of one map to a vector).

A region pooled to the window has the shape that a whole image has there, so one tail serves classification,
localization, R-CNN, Fast and Faster R-CNN, sliding windows and FCN.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self

from torch import Tensor, nn

from visionkit.backbones.chain import last_stage, run_chain
from visionkit.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Stage(NamedTuple):
    """A named map of the trunk."""

    channels: int
    stride: int  # input pixels per map cell


class Backbone(nn.Module):
    """Contract of every network of the line; `visionkit.backbones.contract.assert_is_backbone` checks it.

    A network gives its layers torchvision's names, states in `paths` which of them lead to which stage, and writes
    `tail_maps` and `new_classifier`. Where its trunk is not a chain it writes `forward` too.

    Attributes:
        stages: the maps `forward` can give, by name, in the order of execution: "c0" ... "c5" by level, and further
            names ("pool3"). Nobody reads a stride from a name.
        paths: by stage, in the order of execution: the names of the submodules that lead to it from the stage before.
            Empty for a neck.
        region_stages: where regions are cut: ("c4",), or ("p2", "p3", "p4", "p5").
        proposal_stages: where an RPN looks: the same, or ("p2", ..., "p6").
        window: side of the tail's input, in map cells.
        out_channels: length of the tail's vector.
        color: "rgb" or "gray".
        mean, std: of its input, one number a channel, for pixels in 0 ... 1.
        min_size: the smallest image side it takes, in pixels.
        resolution: the image side it was designed for, in pixels.
        dense_stride: stride of `dense_tail`'s output in cells of the region map.
        dense_exact: whether `dense_tail` equals the tail on every window (padding makes it approximate).
        weights_url: the published ImageNet weights of this network ("" where there are none); set by its builder.
        classifier_keys: prefixes of published keys that belong to `new_classifier(...)`, with the prefix they have
            there.
        aux_keys: the same for `new_aux_classifiers(...)`.
        renamed_keys: regular expressions for older names of published keys, with what they are called here.
        dropped_keys: prefixes of published keys whose parts `drop_tail` removed.
        load_report: what was loaded from a weights file (`pretrained.LoadReport`, one line as text); None without.
    """

    stages: dict[str, Stage]
    paths: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    region_stages: tuple[str, ...]
    proposal_stages: tuple[str, ...]
    window: int
    out_channels: int
    color: str = "rgb"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    min_size: int = 32
    resolution: int = 224
    dense_stride: int = 1
    dense_exact: bool = False
    weights_url: str = ""
    classifier_keys: Mapping[str, str] = MappingProxyType({})
    aux_keys: Mapping[str, str] = MappingProxyType({})
    renamed_keys: tuple[tuple[str, str], ...] = ()
    dropped_keys: tuple[str, ...] = ()
    load_report: object | None = None

    def forward(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Normalised images (B, 3, H, W) float, gray ones (B, 1, H, W) -> the named maps (B, C, h, w).

        Computes no further than needed. Raises KeyError naming the known stages when a name is not one of them, and
        ConfigError for images smaller than `min_size`.
        """
        self.require_size(images)
        return run_chain(self.parts(), images, names)

    def require_size(self, images: Tensor) -> None:
        """Raises ConfigError for images (B, C, H, W) smaller than `min_size`."""
        height, width = images.shape[-2:]
        if height < self.min_size or width < self.min_size:
            raise ConfigError(
                f"{type(self).__name__} takes images of at least {self.min_size} x {self.min_size} pixels, "
                f"not {height} x {width}: enlarge them, or choose a network for small images (lenet, resnet20)"
            )

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
        """The tail over a whole map, not reduced: (B, C, h, w) -> (B, C', h', w') at `dense_stride`."""
        return self.tail_maps(region_map)

    @property
    def dense_window(self) -> int:
        """Side of what `dense_tail` turns into the maps of one window, in cells of the region map: the window, or
        what `pool` makes a window of."""
        return self.window

    @abstractmethod
    def new_classifier(self, num_classes: int) -> nn.Module:
        """The network's own head, with fresh weights: tail maps (R, C', h', w') -> logits (R, num_classes).

        Given the maps of `dense_tail`, it averages the class scores over positions (VGG, sec. 3.2).
        """

    def new_aux_classifiers(self, num_classes: int) -> nn.ModuleDict:
        """Auxiliary heads for training: by stage name, a module that maps that stage's map to logits. Mostly none."""
        return nn.ModuleDict()

    def parts(self) -> dict[str, tuple[nn.Module, ...]]:
        """By stage, in order of execution: the modules that lead to it from the stage before."""
        return {name: tuple(self.get_submodule(path) for path in self.paths[name]) for name in self.stages}

    def through(self, stage: str, maps: Tensor) -> Tensor:
        """The maps of the stage before -> those of this one, for tails that are a stage."""
        for module in self.parts()[stage]:
            maps = module(maps)
        return maps

    def drop_tail(self, names: Sequence[str]) -> None:
        """Delete every layer that the named stages do not need, so that no parameter goes unused under a neck."""
        known = tuple(self.stages)
        kept = known[: last_stage(names, known) + 1]
        wanted = [path for name in kept for path in self.paths[name]]
        dropped: list[str] = []
        for path in [path for path, _ in self.named_modules() if path]:  # a parent comes before its children
            needed = any(_holds(one, path) or _holds(path, one) for one in wanted)
            if not needed and not any(_holds(one, path) for one in dropped):
                dropped.append(path)
        for path in dropped:
            parent, _, name = path.rpartition(".")
            delattr(self.get_submodule(parent), name)
        self.dropped_keys = (*self.dropped_keys, *(f"{path}." for path in dropped))
        self.stages = {name: self.stages[name] for name in kept}

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


def _holds(path: str, other: str) -> bool:
    """Whether the module called `path` is, or has inside, the one called `other`."""
    return f"{other}.".startswith(f"{path}.")

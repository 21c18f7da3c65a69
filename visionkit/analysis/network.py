"""A classification network, or a detector of two stages, counted layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visionkit.analysis.receptive_field import Field
from visionkit.analysis.trace import BYTES, Layer, Trace
from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.models.encode import Pool
from visionkit.models.region_detector import RegionDetector

COCO_CLASSES = 80
SMALL = 32  # side of the images of CIFAR, and of LeNet's padded digits
GATED = "fields of maps that squeeze and excitation scales leave out its vectors, which see the whole image"


@dataclass(frozen=True)
class Part:
    """What a piece of a network costs."""

    name: str
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class Analysis:
    """What a network costs for one image, and what it sees.

    Attributes:
        name: what it is called.
        image: (channels, height, width).
        classes: that it tells apart.
        layers: in the order of execution.
        parameters: of the whole network without auxiliary heads.
        auxiliary: heads that only training uses, counted apart.
        notes: sentences on what the numbers leave out.
    """

    name: str
    image: tuple[int, int, int]
    classes: int
    layers: tuple[Layer, ...]
    parameters: int
    auxiliary: Part
    notes: tuple[str, ...] = ()

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Memory of all layers' outputs, without the image: what a forward pass for training keeps."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def last_map(self) -> Layer | None:
        """The last layer whose output still has places; of a detector, before it proposes regions."""
        known = [layer for layer in self.layers if layer.field is not None and layer.part != "rpn"]
        maps = [layer for layer in known if layer.field is not None and layer.field.is_map]
        return maps[-1] if maps else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The same sums by part of the network, in the order of execution."""
        names = dict.fromkeys(layer.part for layer in self.layers)
        return tuple(_part(name, [layer for layer in self.layers if layer.part == name]) for name in names)


def default_classes(backbone: Backbone) -> int:
    """1000 (ImageNet); 10 for the networks for small images (digits, CIFAR-10)."""
    return 10 if backbone.resolution <= SMALL else 1000


@torch.no_grad()
def analyze_network(
    backbone: Backbone, name: str, size: tuple[int, int] | None = None, classes: int | None = None
) -> Analysis:
    """A backbone on the meta device with its own classifier, which is made here; a pyramid's sees its coarsest map.

    Args:
        name: of the network.
        size: of the image, (height, width); by default what the network was made for.
        classes: 1000 by default, 10 for networks for small images.

    Raises:
        ConfigError: the image is smaller than the network takes.
    """
    size = size or (backbone.resolution, backbone.resolution)
    classes = classes or default_classes(backbone)
    with torch.device("meta"):
        head, heads = backbone.new_classifier(classes), backbone.new_aux_classifiers(classes)
    for module in (backbone, head, heads):
        module.eval()
    with Trace() as trace:
        trace.watch(backbone)
        trace.watch(head, "head")
        image = trace.start(_image(backbone, size), Field())
        with _refusals(backbone, name, size):
            with trace.part("trunk"):
                maps = backbone(image, tuple(dict.fromkeys((*backbone.region_stages, *heads))))
            with trace.part("pool"):
                windows = backbone.pool(maps[backbone.region_stages[-1]])
            with trace.part("tail"):
                tail_maps = backbone.tail_maps(windows)
            with trace.part("head"):
                head(tail_maps)
    _tell_neck(trace.layers, backbone)
    parameters = _count(backbone) + _count(head)
    return Analysis(
        name,
        (image.shape[1], *size),
        classes,
        tuple(trace.layers),
        parameters,
        _auxiliary(heads, maps),
        tuple(_notes(trace, parameters)),
    )


@torch.no_grad()
def analyze_detector(
    model: RegionDetector, name: str, size: tuple[int, int] | None = None, regions: int = 1000
) -> Analysis:
    """A detector on the meta device, as it runs on one image: trunk, proposals, then `regions` regions.

    Which regions these are depends on the image, what they cost does not. Choosing them (sorting, non-maximum
    suppression) and pooling them has no multiply-adds in the sense of this count.

    Args:
        size: of the image, (height, width); by default the largest that the detector's own resize makes.
    Raises:
        ConfigError: a detector whose regions share no maps.
    """
    if not isinstance(model.encode, Pool):
        raise ConfigError(
            f"{name}: only detectors that cut regions out of shared maps are counted (Fast, Faster and Mask R-CNN). "
            "R-CNN costs its backbone once for each region, sliding windows once for each level of the pyramid: count "
            "the backbone."
        )
    model.eval()
    backbone, rpn = model.encode.backbone, getattr(getattr(model.propose, "rpn", model.propose), "head", None)
    size = size or model.resize.canvas((model.resize.short, model.resize.long))
    names = tuple(dict.fromkeys((*backbone.region_stages, *backbone.proposal_stages)))
    with Trace() as trace:
        trace.watch(backbone)
        trace.watch(model.head, "head")
        image = trace.start(_image(backbone, size), Field())
        with _refusals(backbone, name, size):
            with trace.part("trunk"):
                maps = backbone(image, names)
            if isinstance(rpn, nn.Module):
                trace.watch(rpn, "rpn")
                with trace.part("rpn"):
                    rpn([maps[stage] for stage in backbone.proposal_stages])
            stage = backbone.stages[backbone.region_stages[0]]
            windows = torch.empty(regions, stage.channels, backbone.window, backbone.window, device="meta")
            trace.note(Layer("regions", "regions", "roi pooling", tuple(windows.shape), 0, 0, BYTES * windows.numel()))
            trace.start(windows, None)
            with trace.part("tail"):
                vectors = backbone.tail(windows)
            with trace.part("head"):
                model.head(vectors)
    _tell_neck(trace.layers, backbone)
    parameters = _count(model)
    notes = [f"tail and head for {regions} regions of the image", *_notes(trace, parameters)]
    classes = model.head.num_classes
    return Analysis(
        name, (image.shape[1], *size), classes, tuple(trace.layers), parameters, _part("", ()), tuple(notes)
    )


def _image(backbone: Backbone, size: tuple[int, int]) -> Tensor:
    return torch.empty(1, 1 if backbone.color == "gray" else 3, *size, device="meta")


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@contextmanager
def _refusals(backbone: Backbone, name: str, size: tuple[int, int]) -> Iterator[None]:
    """An operation that finds no room in a small image is the size's fault."""
    try:
        yield
    except RuntimeError as error:
        if min(size) >= backbone.resolution:
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"{name} cannot take images of {size[0]} x {size[1]} pixels ({reason}).") from error


def _tell_neck(layers: Sequence[Layer], backbone: Backbone) -> None:
    """The layers that a neck puts around its body are a part of their own."""
    if backbone.innermost() is not backbone:
        for layer in layers:
            if layer.part == "trunk" and not layer.name.startswith("body."):
                layer.part = "neck"
                layer.name = layer.name.replace("trunk.", "neck.")


def _part(name: str, layers: Sequence[Layer]) -> Part:
    return Part(
        name,
        sum(layer.parameters for layer in layers),
        sum(layer.multiply_adds for layer in layers),
        sum(layer.activation_bytes for layer in layers),
    )


def _auxiliary(heads: nn.ModuleDict, maps: Mapping[str, Tensor]) -> Part:
    with Trace() as trace:
        trace.watch(heads)
        for stage, head in heads.items():
            head(trace.start(maps[stage], None))
    return _part("auxiliary heads", trace.layers)


def _notes(trace: Trace, parameters: int) -> list[str]:
    notes = [GATED] if trace.scaled else []
    left = parameters - sum(layer.parameters for layer in trace.layers)
    if left:
        notes.append(f"{left:,} parameters are in layers that did not run")
    return notes

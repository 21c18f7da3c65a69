"""All that a network makes of a picture on its way to an answer: the maps of its stages, its vector, its probabilities;
and where in the picture the cells of the maps lie."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionkit.analysis.receptive_field import Axis, Field
from visionkit.analysis.trace import Trace
from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.explain.layers import TAIL, backbones_of, classifier_of
from visionkit.explain.motions import Grid

VECTOR, PROBABILITIES = "vector", "probabilities"


def trunk_stages(backbone: Backbone) -> tuple[str, ...]:
    """The stages up to the last one that regions are cut from; what follows is the tail."""
    known = tuple(backbone.stages)
    return known[: max(known.index(name) for name in backbone.region_stages) + 1]


def representations(model: nn.Module, images: Tensor, stages: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Normalised images (B, C, H, W) -> by name, in the order of execution: the maps (B, C', h, w) of the trunk's
    stages, of the tail unless it is fully connected ("tail"), the vector (B, D) and, where the model has classes, their
    probabilities (B, K).

    Args:
        model: a classifier or a localizer, or a backbone alone.
        stages: of the trunk; all by default. ConfigError for one that there is not.
    """
    net = backbones_of(model)[0]
    known = trunk_stages(net)
    stages = known if stages is None else tuple(stages)
    if unknown := [name for name in stages if name not in known]:
        raise ConfigError(f"stages: there is no {unknown[0]}; the stages up to the tail are {', '.join(known)}.")
    maps = net(images, tuple(dict.fromkeys((*stages, *net.region_stages))))
    tails = [net.tail_maps(net.pool(maps[name])) for name in net.region_stages]  # (B, C', h, w) each
    tail = tails[0] if len(tails) == 1 else torch.stack(tails).mean(dim=0)
    found = {name: maps[name] for name in stages}
    if tail.shape[2] * tail.shape[3] > 1:
        found[TAIL] = tail
    found[VECTOR] = net.reduce(tail)  # (B, D)
    head = classifier_of(model)
    return found if head is None else found | {PROBABILITIES: head(tail).float().softmax(dim=1)}


@torch.no_grad()
def map_grids(model: nn.Module, size: tuple[int, int], stages: Sequence[str] | None = None) -> dict[str, Grid]:
    """Where the cells of the maps of `representations` lie in pictures of (height, width) pixels: in the middle of what
    they see (`analysis.trace`). Where that is not known, they lie side by side and fill the picture.

    A cell is not always in the middle of its share of the picture. A ResNet's convolutions of stride 2 look at every
    second pixel from the first one on, so the cells of a map of stride 32 see what is around the pixels 0, 32, 64 ...,
    not 16, 48, 80 ...: mirror the picture, and the map comes out mirrored and moved by 31 pixels, nearly a cell.
    """
    net = copy.deepcopy(backbones_of(model)[0]).to("meta").eval()
    with Trace() as trace:
        image = trace.start(torch.empty(1, len(net.mean), *size, device="meta"), Field())
        maps = {name: found for name, found in representations(net, image, stages).items() if found.ndim == 4}
        for name, found in maps.items():
            with trace.part(f"at {name}"):
                found.add(0)  # an operation that does nothing, whose field is that of the maps
    fields = {layer.part: layer.field for layer in trace.layers}
    return {
        name: _grid(fields.get(f"at {name}"), (size[0] / found.shape[2], size[1] / found.shape[3]))
        for name, found in maps.items()
    }


def _grid(field: Field | None, share: tuple[float, float]) -> Grid:
    if field is None or field.dims is None:
        return Grid(share[0] / 2, share[1] / 2, *share)
    return Grid(_first(field.y), _first(field.x), float(field.y.stride), float(field.x.stride))


def _first(axis: Axis) -> float:
    """The middle of what cell 0 sees, in pixels; of cells that differ, a mean."""
    step = float(axis.stride)
    middles = [(first + last + 1) / 2 - i * step for i, (first, last) in enumerate(axis.cells)]
    return sum(middles) / len(middles)

"""Which part of a network's maps a square of the image can change, step by step: all that has to be computed anew when
the square is covered.

A cell sees its receptive field and nothing else, so outside of a square that grows from layer to layer the maps of the
covered image are those of the image. A step computes a crop of its input that holds all that the changed cells of its
output see.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from visionkit.analysis.receptive_field import Axis, Field
from visionkit.backbones.base import Backbone
from visionkit.explain.layers import classifier_of
from visionkit.explain.seen import FieldTrace, shadow
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer

WORTH = 0.95  # of the multiply-adds; what saves less is not worth the copies
# Layers whose every cell follows from the whole map, which fields do not tell.
WHOLE_MAP = (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
Spans = dict[int, tuple[int, int]]  # by where the square begins: the changed cells, first and one after the last


class Cut(NamedTuple):
    """Along one axis, for one place of the square.

    Attributes:
        start: the first cell of the input that is in the crop.
        origin: the cell of the output that the crop's output begins with.
        first, end: the cells of the output that may change, `end` not among them.
    """

    start: int
    origin: int
    first: int
    end: int


class Cuts(NamedTuple):
    """Along one axis: the length of the crop, the same for all places, and the cut for each place of the square."""

    length: int
    at: dict[int, Cut]


class Step(NamedTuple):
    """The modules `first` to before `end` of `chain(backbone)`, on crops."""

    first: int
    end: int
    rows: Cuts
    columns: Cuts


class _Link(NamedTuple):
    """The same modules on the meta device, on whole maps: their input (1, C, h, w), their output, what a cell of it
    reads of the input, down and across, and what they cost."""

    modules: nn.Sequential
    given: Tensor
    made: Tensor
    y: Axis
    x: Axis
    multiply_adds: int


def chain(backbone: Backbone) -> list[nn.Module]:
    """The modules that lead, one after the other, from the image to the region stage; `nn.Sequential`s taken apart."""
    stages, parts = list(backbone.stages), backbone.parts()
    needed = stages[: stages.index(backbone.region_stages[0]) + 1]
    modules = [module for name in needed for module in parts[name]]
    return [inner for module in modules for inner in (module if type(module) is nn.Sequential else (module,))]


@torch.no_grad()
def local_steps(
    model: nn.Module, size: tuple[int, int], window: int, tops: Sequence[int], lefts: Sequence[int]
) -> tuple[Step, ...]:
    """The steps in which to follow a square of `window` pixels that begins in one of the rows `tops` and the columns
    `lefts` of an image (height, width), as deep as that saves multiply-adds; what comes after them needs whole maps.

    There are none where less than a twentieth would be saved, for models that say more than one thing about a picture,
    for trunks that are no chain to one region stage (pyramids), and where the first maps already meet vectors or
    statistics of the whole image (squeeze and excitation, group norms).

    Raises:
        ConfigError: the image is smaller than the network takes.
    """
    if not isinstance(model, Classifier | Localizer):
        return ()
    net = model.backbone
    if type(net).forward is not Backbone.forward or len(net.region_stages) != 1:
        return ()
    images = torch.empty(1, len(net.mean), *size, device="meta")
    net.require_size(images)
    copied = shadow(model).eval()
    assert isinstance(copied, Classifier | Localizer)  # a copy
    links, whole = _links(copied, images)
    steps: list[Step] = []
    kept, spent, least = 0, float(whole), WORTH * whole
    rows: Spans = {top: (top, top + window) for top in tops}
    columns: Spans = {left: (left, left + window) for left in lefts}
    for link in links:
        first = steps[-1].end if steps else 0
        (height, width), (h, w) = link.given.shape[-2:], link.made.shape[-2:]
        step = Step(first, first + len(link.modules), _cuts(link.y, height, h, rows), _cuts(link.x, width, w, columns))
        if not _grid_stays(link, step):
            break
        steps.append(step)
        spent -= link.multiply_adds * (1 - step.rows.length * step.columns.length / (height * width))
        if spent < least:
            least, kept = spent, len(steps)
        rows, columns = _changed(step.rows), _changed(step.columns)
    return tuple(steps[:kept])


def _links(model: Classifier | Localizer, images: Tensor) -> tuple[list[_Link], int]:
    """The first modules of a model on the meta device, as far as fields can be followed, and what the whole model
    costs. Modules that work cell by cell go with those before them."""
    net, head = model.backbone, classifier_of(model)
    assert head is not None
    found: list[_Link] = []
    modules, maps, spent = chain(net), images, 0
    while modules:
        with FieldTrace() as trace:
            made = modules[0](trace.start(torch.empty_like(maps), Field()))
        field = trace.field_of(made) if isinstance(made, Tensor) else None
        if trace.scaled or field is None or not _local(field) or _sees_all(modules[0]):
            break
        cost = sum(layer.multiply_adds for layer in trace.layers)
        spent += cost
        link = _Link(nn.Sequential(modules.pop(0)), maps, made, field.y, field.x, cost)
        if found and field == Field():
            before = found.pop()
            link = before._replace(
                modules=nn.Sequential(*before.modules, *link.modules),
                made=made,
                multiply_adds=before.multiply_adds + cost,
            )
        found.append(link)
        maps = made
    with FieldTrace() as trace:
        maps = trace.start(torch.empty_like(maps), None)
        head(net.tail_maps(net.pool(nn.Sequential(*modules)(maps))))
    return found, spent + sum(layer.multiply_adds for layer in trace.layers)


def _local(field: Field) -> bool:
    """Whether all cells of a map see alike."""
    return field.dims == (-2, -1) and len(field.y.cells) == len(field.x.cells) == 1


def _sees_all(module: nn.Module) -> bool:
    return any(isinstance(inner, WHOLE_MAP) for inner in module.modules())


def _cuts(axis: Axis, length: int, out: int, changed: Spans) -> Cuts:
    """What changes in `out` cells that read `length` cells of which some have changed.

    Crops begin where a cell of the output would, and leave out a whole number of those, so that their grid is that of
    the whole map. Where the layers' own padding is seen, the crop ends where the map ends.
    """
    ((before, after),), stride = axis.cells, axis.step
    spans: Spans = {}
    needed: Spans = {}
    for at, (begin, end) in changed.items():
        first = min(max(-((after - begin) // stride), 0), out - 1)
        last = min(max((end - 1 - before) // stride, first), out - 1)
        spans[at] = first, last + 1
        start = max(min(first * stride + before, begin), 0)
        needed[at] = start - start % stride, min(max(last * stride + after + 1, end), length)
    longest = max(end - start for start, end in needed.values())
    longest = length - (length - longest) // stride * stride
    found = {}
    for at, (first, end) in spans.items():
        start = min(needed[at][0], length - longest)
        found[at] = Cut(start, start // stride, first, end)
    return Cuts(longest, found)


def _grid_stays(link: _Link, step: Step) -> bool:
    """Whether a crop gives as many cells less as it is shorter, which pools to a fixed size do not do."""
    given = link.given[..., : step.rows.length, : step.columns.length]
    lost = [
        (cells - cuts.length) // axis.step
        for cells, cuts, axis in zip(link.given.shape[-2:], step[2:], (link.y, link.x), strict=True)
    ]
    expected = [cells - less for cells, less in zip(link.made.shape[-2:], lost, strict=True)]
    return list(link.modules(torch.empty_like(given)).shape[-2:]) == expected


def _changed(cuts: Cuts) -> Spans:
    return {at: (cut.first, cut.end) for at, cut in cuts.at.items()}

"""The maps inside a network while a score is computed: of a stage, of the tail, or of any module by its path."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.explain.score import Score, leaf
from visionkit.models.box_list import BoxList
from visionkit.models.classifier import Classifier
from visionkit.models.localizer import Localizer
from visionkit.models.region_detector import RegionDetector
from visionkit.models.segmenter import Segmenter
from visionkit.models.whole_image import tail_shape

TAIL = "tail"


def layer_names(model: nn.Module) -> list[str]:
    """What can be asked for, the short names first: "tail" where whole images have one, the stages of the backbone (a
    pyramid's and those of the network inside), the paths of all modules."""
    names = [TAIL] if classifier_of(model) is not None else []
    for backbone in backbones_of(model):
        names += [stage for stage in backbone.stages if stage not in names]
    return names + [path for path, _ in model.named_modules() if path]


def last_maps_layer(model: nn.Module) -> str:
    """The deepest layer that still has places, which Grad-CAM looks at unless told otherwise (Selvaraju et al. 2017,
    sec. 3): the tail's maps, or before a fully connected tail the region stage; of a segmenter that runs the tail over
    the whole picture, the last stage."""
    backbone = backbones_of(model)[0]
    if classifier_of(model) is None:
        return _deepest_dense_stage(model, backbone)
    _, side = tail_shape(backbone, max(backbone.min_size, backbone.resolution))
    return TAIL if side > 1 else backbone.region_stages[-1]


def _deepest_dense_stage(model: nn.Module, backbone: Backbone) -> str:
    """The region stage; of a segmenter that runs the tail over the whole picture the last stage after it. A dense tail
    has no pools, so one that is a stage of the network (VGG's pool5) is none there."""
    region = backbone.region_stages[-1]
    if isinstance(model, Segmenter) and TAIL in model.decoder.stages:
        known = list(backbone.stages)
        for stage in reversed(known[known.index(region) + 1 :]):
            path = backbone.paths.get(stage, ())
            if path and not isinstance(backbone.get_submodule(path[-1]), nn.MaxPool2d):
                return stage
    return region


def maps_and_scores(model: nn.Module, score: Score, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The maps (B, C, h, w) of a layer and the scores (B,) of the images, with a graph from the one to the other.

    Raises:
        ConfigError: no such layer (the nearest names are listed), one that the score does not need or that runs more
            than once, one without places, or one whose places are not those of the picture: of a detector's regions,
            of patches.
    """
    with torch.enable_grad(), recorded(model, layer) as found, _counted(model, found) as at_the_end_of_the_trunk:
        scores = score(leaf(images))
    if found and len(found[0]) != len(images):
        raise ConfigError(f"layer={layer} runs on patches of the picture, so its maps cannot be laid over the picture.")
    if len(found) != 1:
        times = "is not run, or gives no tensor," if not found else f"runs {len(found)} times"
        raise ConfigError(f"layer={layer} {times} when this score is computed: choose another layer.")
    of_regions = isinstance(model, RegionDetector) and at_the_end_of_the_trunk == [0]
    if of_regions and not layer.startswith("propose."):
        raise ConfigError(
            f"layer={layer} looks at a region that is cut out of the maps, not at the picture: choose "
            f"{backbones_of(model)[0].region_stages[-1]} or a layer before it."
        )
    if found[0].ndim != 4:
        raise ConfigError(
            f"layer={layer} gives {tuple(found[0].shape)}, which are no maps: choose a convolution or a stage."
        )
    return found[0], scores


@contextmanager
def _counted(model: nn.Module, found: list[Tensor]) -> Iterator[list[int]]:
    """Within, how many maps were found is added to the list each time that the trunk has run."""
    counts: list[int] = []
    hook = backbones_of(model)[0].register_forward_hook(lambda *_: counts.append(len(found)))
    try:
        yield counts
    finally:
        hook.remove()


def map_gradient(scores: Tensor, maps: Tensor, layer: str) -> Tensor:
    """d scores / d maps, (B, C, h, w). ConfigError when the score does not depend on the layer's maps."""
    with torch.enable_grad():
        total = scores.sum()
    (found,) = torch.autograd.grad(total, maps, retain_graph=True, allow_unused=True)
    if found is None:
        raise ConfigError(f"the score does not depend on layer={layer}: choose a layer before what is explained.")
    return found


@contextmanager
def recorded(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Within, what a layer gives each time that it is run is added to the list.

    What follows works on a copy, so that layers that write over their input (`nn.ReLU(inplace=True)`) leave it alone.
    ConfigError for an unknown layer, naming those that are called nearly so.
    """
    found: list[Tensor] = []

    def keep(_module: nn.Module, _given: Any, out: Any) -> Any:
        if not isinstance(out, Tensor):
            return None
        found.append(out)
        return out.clone()

    hooks: list[Any] = []
    try:
        hooks += _hooks(model, layer, found, keep)
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _hooks(model: nn.Module, layer: str, found: list[Tensor], keep: Any) -> list[Any]:
    classifier = classifier_of(model)
    if layer == TAIL and classifier is not None:
        return [classifier.register_forward_pre_hook(lambda _module, given: (keep(_module, (), given[0]), *given[1:]))]
    for backbone in backbones_of(model):
        if layer in backbone.stages:
            return _stage_hooks(backbone, layer, found, keep)
    return [module_at(model, layer)[1].register_forward_hook(keep)]


def _stage_hooks(backbone: Backbone, stage: str, found: list[Tensor], keep: Any) -> list[Any]:
    """A stage of the trunk is asked for along with the others, so that its maps lie in the graph; one that only the
    tail runs is its last module."""
    known = list(backbone.stages)
    path = backbone.paths.get(stage, ())
    if path and known.index(stage) > max(known.index(name) for name in backbone.region_stages if name in known):
        return [backbone.get_submodule(path[-1]).register_forward_hook(keep)]
    asked: list[Any] = []

    def ask(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        given = kwargs["names"] if "names" in kwargs else args[1]
        asked.append(tuple(given))
        return (args[0] if args else kwargs["images"], tuple(dict.fromkeys((*given, stage)))), {}

    def give(_module: nn.Module, _given: Any, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        found.append(maps[stage])
        return {name: maps[name] for name in asked.pop()}

    return [
        backbone.register_forward_pre_hook(ask, with_kwargs=True),
        backbone.register_forward_hook(give),
    ]


def module_at(model: nn.Module, layer: str) -> tuple[str, nn.Module]:
    """A module by its path, which may begin inside of the backbone, with its whole path. ConfigError when there is
    none, naming those that are called nearly so."""
    modules = dict(model.named_modules())
    path = next((path for path in (layer, f"backbone.{layer}", f"encode.backbone.{layer}") if path in modules), None)
    if not layer or path is None:
        raise unknown_layer(model, layer)
    return path, modules[path]


def require_layer(model: nn.Module, layer: str) -> None:
    """ConfigError for an unknown layer, naming those that are called nearly so."""
    with recorded(model, layer):
        pass


def unknown_layer(model: nn.Module, layer: str) -> ConfigError:
    """The sentence for a layer that does not exist, with the nearest names."""
    names = layer_names(model)
    short = list(dict.fromkeys(name.removeprefix("backbone.") for name in names))
    near = difflib.get_close_matches(layer, short, n=4, cutoff=0.5)
    near += [name for name in short if layer and name.endswith(f".{layer}")][:2]
    hint = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else ""
    stages = ", ".join(name for name in names if "." not in name and not hasattr(model, name))
    return ConfigError(f"there is no layer {layer!r}; {hint or 'the stages are ' + stages + '.'}")


def backbones_of(model: nn.Module) -> list[Backbone]:
    """The model's backbone, and where that is a neck the network inside of it; a backbone alone is its own."""
    outer = model if isinstance(model, Backbone) else getattr(model, "backbone", None)
    if not isinstance(outer, Backbone):
        raise ConfigError(f"a {type(model).__name__} has no backbone whose layers could be looked at.")
    return list(dict.fromkeys((outer, outer.innermost())))


def classifier_of(model: nn.Module) -> nn.Module | None:
    """What takes the tail maps of whole images: a classifier's head, a localizer's."""
    if isinstance(model, Localizer):
        return model.class_head
    return model.head if isinstance(model, Classifier | BoxList) else None

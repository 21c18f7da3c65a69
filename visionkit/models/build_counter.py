"""The wiring of counting: which maps of a backbone a density is read from."""

from collections.abc import Sequence

from visionkit.backbones.base import Backbone, Stage
from visionkit.errors import ConfigError
from visionkit.heads.density import DensityHead
from visionkit.models.counter import Counter
from visionkit.models.dense_sizes import check_dense_ranges, dense_resize
from visionkit.models.pixels import Normalize
from visionkit.models.pooled_blocks import drop_tail

FINEST = 8  # pixels of a cell, unless the stages are given: as CSRNet's (Li et al. 2018)


def counter(
    backbone: Backbone,
    num_classes: int,
    *,
    stages: Sequence[str] | None = None,
    hidden: int = 64,
    convs: int = 2,
    norm: str = "batch",
    density_weight: float = 1.0,
    count_weight: float = 1.0,
    short: int | None = None,
    long: int | None = None,
) -> Counter:
    """A density map on any backbone. A tail that leads to none of the maps is deleted.

    Args:
        stages: the maps it is read from, the finest first, which gives the grid; by default the last one of a stride
            of 8 pixels (or the next finer one) and the last one twice as coarse; of a pyramid all region maps.
        hidden, convs, norm: of the head; see `DensityHead`.
        density_weight, count_weight: of the losses; see `Counter`.
        short, long: sides that pictures are resized to, pixels (see `TestResize`); null leaves them as they are.
    Raises:
        ConfigError: data with several classes, a setting out of its range, no such map.
    """
    if num_classes != 1:
        raise ConfigError(f"task=count counts one kind of object, and the data has {num_classes} classes.")
    settings = {"hidden": hidden, "convs": convs, "density_weight": density_weight, "count_weight": count_weight}
    check_dense_ranges(settings | {"short": short, "long": long})
    chosen = _default_stages(backbone) if stages is None else _given_stages(backbone, stages)
    head = DensityHead(chosen, hidden, convs, norm)
    drop_tail(backbone, head.stages)
    resize = dense_resize(short, long)
    normalize = Normalize(backbone.mean, backbone.std)
    return Counter(backbone, head, normalize, resize, density_weight, count_weight)


def _default_stages(backbone: Backbone) -> dict[str, Stage]:
    if len(backbone.region_stages) > 1:
        return {name: backbone.stages[name] for name in backbone.region_stages}
    by_stride = {stage.stride: name for name, stage in backbone.stages.items()}  # the last one of each
    finest = max((stride for stride in by_stride if stride <= FINEST), default=min(by_stride))
    wanted = [stride for stride in (finest, 2 * finest) if stride in by_stride]
    return {by_stride[stride]: backbone.stages[by_stride[stride]] for stride in wanted}


def _given_stages(backbone: Backbone, names: Sequence[str]) -> dict[str, Stage]:
    for name in names:
        if name not in backbone.stages:
            raise ConfigError(f"task.stages: {name} is no map of this backbone; it has {', '.join(backbone.stages)}.")
    chosen = {name: backbone.stages[name] for name in names}
    strides = [stage.stride for stage in chosen.values()]
    if not names or len(chosen) < len(names) or strides[0] > min(strides):
        raise ConfigError(f"task.stages={list(names)}: one or more maps are wanted, each once, the finest first.")
    return chosen

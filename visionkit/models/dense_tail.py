"""A backbone's tail over whole pictures: "fully convolutional" (Long et al., FCN, 2015, sec. 3.1)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from visionkit.backbones.base import Backbone
from visionkit.errors import ConfigError
from visionkit.heads.fcn import TAIL
from visionkit.models.whole_image import dense_tail_channels, dense_tail_side


def tail_margin(backbone: Backbone) -> int:
    """Cells of zeros that the region map needs, on both sides together, for tail maps that cover it: what the windows
    of an unpadded tail (fc6 as a convolution) lose at the border; 0 for a tail of padded convolutions."""
    return max(0, backbone.dense_window - backbone.dense_stride * dense_tail_side(backbone))


def covering_tail(backbone: Backbone, region_map: Tensor, margin: int) -> Tensor:
    """Region map (B, C, h, w) -> tail maps (B, C', ceil(h / dense_stride), ...): zeros around the map take the place of
    the 100 pixels around the picture that the paper's networks have, and keep the cells where they were."""
    if margin:
        before, after = margin // 2, margin - margin // 2
        region_map = F.pad(region_map, (before, after, before, after))
    return backbone.dense_tail(region_map)


def region_stage(backbone: Backbone) -> str:
    """The one stage that the tail starts from. ConfigError for a pyramid, whose tail is for regions."""
    if len(backbone.region_stages) != 1:
        raise ConfigError(
            f"{type(backbone).__name__} has a map for each of {', '.join(backbone.region_stages)} and no tail for "
            "whole pictures: choose the network inside of it (backbone=resnet18, vgg16), or task=unet."
        )
    return backbone.region_stages[0]


def deepest_map(backbone: Backbone, name: str) -> tuple[int, int]:
    """(channels, stride in pixels) of the map that a decoder begins with: the tail's, or a stage's."""
    if name != TAIL:
        require_known(backbone, [name])
        return backbone.stages[name].channels, backbone.stages[name].stride
    stride = backbone.stages[region_stage(backbone)].stride * backbone.dense_stride
    return dense_tail_channels(backbone), stride


def skip_stages(backbone: Backbone, coarsest: int, finest: int) -> list[str]:
    """The first stage of each stride from `coarsest` / 2 down to `finest` pixels. ConfigError where there is none."""
    if finest < 1 or coarsest % finest or (coarsest // finest) & (coarsest // finest - 1):
        raise ConfigError(
            f"task.stride={finest}: the coarsest map has a stride of {coarsest}, and {finest} is not got by halving it."
        )
    wanted = []
    while coarsest > finest:
        coarsest //= 2
        wanted.append(coarsest)
    found = []
    for stride in wanted:
        name = next((name for name, stage in backbone.stages.items() if stage.stride == stride), None)
        if name is None:
            strides = ", ".join(str(s) for s in sorted({stage.stride for stage in backbone.stages.values()}))
            raise ConfigError(f"task.stride={finest}: the backbone has no map of stride {stride}; it has {strides}.")
        found.append(name)
    return found


def skip_widths(backbone: Backbone, coarsest: int, skips: Sequence[str]) -> dict[str, int]:
    """Channels of the skips by name, from coarse to fine. ConfigError unless each is twice as fine as what it joins."""
    require_known(backbone, skips)
    for name in skips:
        if 2 * backbone.stages[name].stride != coarsest:
            raise ConfigError(
                f"task.skips: {name} has a stride of {backbone.stages[name].stride}, and here {coarsest // 2} is "
                "wanted: each is twice as fine as the one before."
            )
        coarsest = backbone.stages[name].stride
    return {name: backbone.stages[name].channels for name in skips}


def require_known(backbone: Backbone, names: Sequence[str]) -> None:
    """ConfigError naming the stages when one of `names` is none."""
    for name in names:
        if name not in backbone.stages:
            raise ConfigError(f"the backbone has no stage {name!r}; it has {', '.join(backbone.stages)}.")

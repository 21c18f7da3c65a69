"""One network on several scales (Farabet et al., "Learning Hierarchical Features for Scene Labeling", 2013).

A neck that is a backbone without a tail: it serves models that say something about each pixel.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import require_stages
from visionkit.errors import ConfigError

_NO_TAIL = "a network on several scales has no tail: it is for task=farabet alone"


class MultiScale(Backbone):
    """The maps of one stage at every scale, brought to the size of the finest and put side by side (sec. 3.1).

    All scales share all weights. Each is half as large as the one before, a pixel being the mean of four. The paper
    takes a Laplacian pyramid and normalises every neighbourhood; a plain one is what a network that was trained on
    pictures knows, and what its norms expect.

    What the body has beyond the stage is deleted, its tail included.

    Args:
        body: the network.
        stage: of it.
        levels: scales, at least 1. Sides of pictures are multiples of 2^(levels - 1) pixels.

    Raises:
        ConfigError: the body has no such stage.
    """

    def __init__(self, body: Backbone, stage: str, levels: int = 3) -> None:
        super().__init__()
        body.drop_tail((stage,))
        channels, stride = body.stages[stage]
        self.body = body
        self.stage, self.levels = stage, levels
        self.stages = {"scales": Stage(levels * channels, stride)}
        self.region_stages = self.proposal_stages = ("scales",)
        self.color, self.mean, self.std = body.color, body.mean, body.std
        self.min_size = body.min_size << (levels - 1)
        self.resolution = max(self.min_size, body.resolution)
        self.window, self.out_channels = 1, levels * channels

    def forward(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        require_stages(names, self.stages)
        self.require_size(images)
        if not names:
            return {}
        found: list[Tensor] = []
        for level in range(self.levels):
            if level:
                images = F.avg_pool2d(images, 2)  # (B, C, H / 2^level, W / 2^level)
            maps = self.body(images, (self.stage,))[self.stage]  # (B, C', h / 2^level, w / 2^level)
            found.append(_resized(maps, found[0] if found else maps))
        return {"scales": torch.cat(found, dim=1)}  # (B, levels * C', h, w)

    def tail_maps(self, windows: Tensor) -> Tensor:
        raise ConfigError(_NO_TAIL)

    def new_classifier(self, num_classes: int) -> nn.Module:
        raise ConfigError(_NO_TAIL)

    def innermost(self) -> Backbone:
        return self.body.innermost()


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=False)

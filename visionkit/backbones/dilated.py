"""DC5: regions cut from a ResNet's last map, kept at stride 16 by dilation, with fresh layers as their tail.

Dai et al., "Deformable Convolutional Networks", 2017, sec. 4.1 (the "dilated C5" of detectron2): the fourth group works
on the whole image once, and not on every region, and its map is as fine as the third's.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.backbones.box_tails import TwoLayerTail
from visionkit.backbones.chain import linear_classifier
from visionkit.errors import ConfigError


class DilatedC5(Backbone):
    """Wraps a network whose c5 is as fine as its c4; regions and anchors are on c5.

    Args:
        body: a ResNet built with `dilation=2`.
        tail: a module with `window`, `out_channels` and `dense`, as for an `FPN`.

    Raises:
        ConfigError: c5 is not as fine as c4.
    """

    dense_exact = True

    def __init__(self, body: Backbone, *, tail: nn.Module) -> None:
        super().__init__()
        if body.stages["c5"].stride != body.stages["c4"].stride:
            raise ConfigError("DC5 needs a network whose last group is dilated: build its body with dilation=2.")
        body.drop_tail(("c5",))
        self.body = body
        self.box_tail = tail
        self.stages = dict(body.stages)
        self.region_stages = self.proposal_stages = ("c5",)
        self.window, self.out_channels = int(tail.window), int(tail.out_channels)  # type: ignore[arg-type]
        self.color, self.mean, self.std = body.color, body.mean, body.std
        self.min_size, self.resolution = body.min_size, body.resolution

    def forward(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.body(images, names)
        return found

    def pool(self, region_map: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(region_map, self.window)  # (B, C, window, window)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.box_tail(windows)[:, :, None, None]  # (R, out_channels, 1, 1)

    def reduce(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)  # (R, out_channels)

    def dense_tail(self, region_map: Tensor) -> Tensor:
        return self.box_tail.dense(region_map)  # type: ignore[operator]  # (B, out_channels, h - window + 1, ...)

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)

    def innermost(self) -> Backbone:
        return self.body.innermost()


def build_dc5(
    body: Callable[..., Backbone],
    weights: str | None = None,
    norm: str = "frozen",
    hidden: int = 1024,
    window: int = 7,
) -> DilatedC5:
    """DC5 around `body(weights=weights, norm=norm, dilation=2)`.

    Args:
        body: a builder such as `resnet50`, perhaps partial; weights of the undilated network fit.
        hidden: length of the tail's two layers.
        window: side of the tail's input.
    """
    network = body(weights=weights, norm=norm, dilation=2)
    return DilatedC5(network, tail=TwoLayerTail(network.stages["c5"].channels, window, hidden))

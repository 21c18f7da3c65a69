"""Feature pyramid (Lin et al., "Feature Pyramid Networks for Object Detection", 2017): a neck that is a backbone.

Keys follow torchvision's: `inner_blocks.I.0.*` and `layer_blocks.I.0.*` in ascending level order, so that the weights
of its detectors differ by a prefix only.
"""

import re
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.box_tails import ConvTail, TwoLayerTail
from visionkit.backbones.chain import last_stage, linear_classifier, require_stages
from visionkit.backbones.norms import norm_layer
from visionkit.errors import ConfigError


def pyramid_conv(channels: int, out: int, size: int, norm: str = "none") -> nn.Sequential:
    """A convolution, and a norm unless it is "none", at indices 0 and 1 as in torchvision's keys; its start too."""
    conv = nn.Conv2d(channels, out, size, padding=size // 2, bias=norm == "none")
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv) if norm == "none" else nn.Sequential(conv, norm_layer(norm)(out))


class FPN(Backbone):
    """Wraps a body: stages p2, p3, ... for its stages c2, c3, ..., all with the same number of channels.

    What the body has beyond its deepest named stage is deleted, its tail included.

    Args:
        body: the network whose maps are combined.
        names: consecutive levels of it, ascending, such as ("c2", "c3", "c4", "c5").
        channels: of every pyramid map.
        extra: "pool" adds one more level by subsampling the last (for proposals only), None does not.
        tail: a module with `window` and `out_channels` that maps (R, channels, window, window) to (R, out_channels);
            for `dense_tail` it needs `dense` as well.
        norm: after each of the pyramid's own convolutions: "none" as in the paper, or "batch", "frozen", "group".

    Raises:
        ConfigError: a name is not the body's, or the names are not consecutive levels.
    """

    def __init__(
        self,
        body: Backbone,
        names: Sequence[str] = ("c2", "c3", "c4", "c5"),
        channels: int = 256,
        extra: str | None = "pool",
        *,
        tail: nn.Module,
        norm: str = "none",
    ) -> None:
        super().__init__()
        levels = _levels(names, tuple(body.stages))
        if extra not in ("pool", None):
            raise ConfigError(f"extra must be pool or null, not {extra!r}")
        body.drop_tail(names)
        self.body = body
        self.body_names = tuple(names)
        self.inner_blocks = nn.ModuleList(pyramid_conv(body.stages[name].channels, channels, 1, norm) for name in names)
        self.layer_blocks = nn.ModuleList(pyramid_conv(channels, channels, 3, norm) for _ in names)
        self.box_tail = tail
        self.dense_exact = not isinstance(tail, ConvTail)  # whose convolutions are padded
        self.extra = f"p{levels[-1] + 1}" if extra else None

        self.region_stages = self.proposal_stages = tuple(f"p{level}" for level in levels)
        self.stages = {
            stage: Stage(channels, body.stages[name].stride)
            for stage, name in zip(self.region_stages, names, strict=True)
        }
        if self.extra:
            self.stages[self.extra] = Stage(channels, 2 * body.stages[names[-1]].stride)
            self.proposal_stages = (*self.region_stages, self.extra)
        self.window, self.out_channels = int(tail.window), int(tail.out_channels)  # type: ignore[arg-type]
        self.color, self.mean, self.std = body.color, body.mean, body.std
        self.min_size, self.resolution = body.min_size, body.resolution

    def forward(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        require_stages(names, self.stages)
        if not names:
            return {}
        top = len(self.region_stages) - 1
        wanted = {top if name == self.extra else self.region_stages.index(name) for name in names}
        used = self.body_names[min(wanted) :]  # no path leads from the finer levels to the ones asked for
        features = self.body(images, used)
        merged, found = None, {}
        for level in range(top, min(wanted) - 1, -1):
            lateral = self.inner_blocks[level](features[self.body_names[level]])  # (B, channels, h, w)
            if merged is None:
                merged = lateral
            else:  # to the lateral's size, not by a factor of two: odd maps do not divide
                merged = lateral + F.interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            if level in wanted:
                found[self.region_stages[level]] = self.layer_blocks[level](merged)
        if self.extra and self.extra in names:
            found[self.extra] = F.max_pool2d(found[self.region_stages[top]], 1, stride=2)  # (B, channels, h / 2, w / 2)
        return {name: found[name] for name in names}

    def pool(self, region_map: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(region_map, self.window)  # (B, channels, window, window)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.box_tail(windows)[:, :, None, None]  # (R, out_channels, 1, 1)

    def reduce(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)  # (R, out_channels)

    def dense_tail(self, region_map: Tensor) -> Tensor:
        return self.box_tail.dense(region_map)  # type: ignore[operator]  # (B, out_channels, h - window + 1, w - window + 1)

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)

    def innermost(self) -> Backbone:
        return self.body.innermost()


def _levels(names: Sequence[str], stages: Sequence[str]) -> list[int]:
    """("c3", "c4") -> [3, 4]."""
    last_stage(names, stages)
    listed = ", ".join(names)
    matches = [re.fullmatch(r"c(\d+)", name) for name in names]
    levels = [int(match[1]) for match in matches if match]
    if len(levels) < len(names) or levels != list(range(levels[0], levels[0] + len(levels))):
        raise ConfigError(f"a feature pyramid needs consecutive levels such as c3, c4, c5, not {listed}")
    return levels


def build_fpn(
    body: Callable[..., Backbone],
    weights: str | None = None,
    norm: str = "frozen",
    names: Sequence[str] = ("c2", "c3", "c4", "c5"),
    channels: int = 256,
    hidden: int = 1024,
    extra: str | None = "pool",
    window: int = 7,
    neck_norm: str = "none",
    tail_convs: int = 0,
) -> FPN:
    """An FPN with two fully connected layers as its tail, around `body(weights=weights, norm=norm)`.

    Args:
        body: a builder such as `resnet50`, perhaps partial; `weights` and `norm` are passed on to it.
        hidden: length of the tail's vector.
        window: side of the tail's input.
        neck_norm: of the pyramid's convolutions, and of the tail's if there are any.
        tail_convs: above 0 the tail is so many convolutions and one layer (`ConvTail`), in place of two layers.
        names, channels, extra: as in `FPN`.
    """
    if tail_convs > 0:
        tail: nn.Module = ConvTail(channels, window, hidden, tail_convs, neck_norm)
    else:
        tail = TwoLayerTail(channels, window, hidden)
    return FPN(body(weights=weights, norm=norm), tuple(names), channels, extra, tail=tail, norm=neck_norm)

"""Batch norms folded into the convolutions before them: the same answers in less time, where only answers are wanted.

In eval mode a batch norm multiplies each channel and adds to it, which the convolution's weights can do as well.
"""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.explain.answer import answer
from visionkit.explain.layers import backbones_of
from visionkit.models.region_detector import RegionDetector
from visionkit.models.whole_image import window_tail_shape

LOOKS = (int, torch.Size, torch.dtype, torch.device, torch.layout)  # what comes of asking for a shape, not for values
BatchNorm = nn.BatchNorm2d | FrozenBatchNorm2d


def folded(model: nn.Module) -> nn.Module:
    """A copy of a model in eval mode without the batch norms that follow a convolution and nothing else reads.

    Which ones these are is seen by running it once. Answers agree to rounding; the maps of a folded convolution are now
    those after its norm, so layers should be looked at in the model itself. Batch norms that come first (DenseNet,
    pre-activation ResNets) and other norms stay.
    """
    found = copy.deepcopy(model).eval()
    for conv, norm in followed(found):
        _fold(conv, norm)
        for parent in found.modules():
            for name, child in parent.named_children():
                if child is norm:
                    setattr(parent, name, nn.Identity())
    return found


def followed(model: nn.Module) -> list[tuple[nn.Conv2d, BatchNorm]]:
    """The convolutions of a model in eval mode with the batch norms that alone read what they give."""
    watch = _Watch()
    hooks: list[Any] = []
    try:
        for module in model.modules():
            if type(module) is nn.Conv2d:
                hooks.append(module.register_forward_hook(watch.made))
            elif isinstance(module, FrozenBatchNorm2d) or (
                type(module) is nn.BatchNorm2d and module.track_running_stats
            ):
                hooks.append(module.register_forward_pre_hook(watch.read))
        with torch.no_grad(), watch:
            _run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return watch.pairs()


def _run(model: nn.Module) -> None:
    """Once through all layers; a detector's trunk, and the tail that runs once a region."""
    backbone = backbones_of(model)[0]
    side = max(backbone.min_size, backbone.resolution)
    answer(model, next(model.parameters()).new_zeros(1, len(backbone.mean), side, side))
    if isinstance(model, RegionDetector):
        window_tail_shape(backbone)


class _Watch(TorchFunctionMode):
    """Who makes the maps that convolutions give, and who reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.makers: dict[int, nn.Conv2d] = {}  # by the identity of the maps, which `kept` keeps from being used again
        self.kept: list[Tensor] = []
        self.runs: Counter[nn.Module] = Counter()
        self.uses: Counter[nn.Module] = Counter()  # of what a convolution gave, by any function
        self.handed: Counter[tuple[nn.Conv2d, BatchNorm]] = Counter()

    def made(self, conv: nn.Conv2d, _given: Any, maps: Tensor) -> None:
        self.kept.append(maps)
        self.makers[id(maps)] = conv
        self.runs[conv] += 1

    def read(self, norm: BatchNorm, given: tuple[Tensor]) -> None:
        self.runs[norm] += 1
        if conv := self.makers.get(id(given[0])):
            self.handed[conv, norm] += 1

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not isinstance(found, LOOKS):
            for value in torch.utils._pytree.tree_leaves((args, kwargs)):
                if conv := self.makers.get(id(value)):
                    self.uses[conv] += 1
        return found

    def pairs(self) -> list[tuple[nn.Conv2d, BatchNorm]]:
        return [
            (conv, norm)
            for (conv, norm), count in self.handed.items()
            if self.runs[conv] == self.runs[norm] == self.uses[conv] == count
        ]


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: BatchNorm) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()  # (C,)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    conv.weight.copy_(conv.weight * scale[:, None, None, None])
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype), requires_grad=conv.weight.requires_grad)

"""Guided backpropagation and the deconvnet: the gradient with another rule where the network rectifies.

Both go backwards through the network as the gradient does. A convolution then filters with its transposed filters, a
max pool puts the signal back where its maximum was ("unpooling" with switches), and a sum of branches sends it down
both, where the results are added: Zeiler and Fergus 2014, sec. 2.1, have the same steps. Only at a rectification do the
rules differ, of a signal that comes from above (Springenberg et al. 2015, fig. 1):

- gradient: passes where the unit was active going forward;
- deconvnet: passes where the signal is positive;
- guided backpropagation: passes where both are so.

Rectifications are ReLU and those that also cut above (ReLU6; guided backpropagation then wants the unit between its
bounds), as modules or functions, in place or not. All else keeps its gradient, for want of a rule in the papers: batch
norm is the linear layer that it is in eval mode and multiplies by its scale, local response normalisation has the
derivative at this image, means spread the signal evenly, and activations that do not rectify (leaky ReLU, tanh, SiLU,
the sigmoid of a gate) multiply by their slope.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionkit.errors import ConfigError
from visionkit.explain.answer import answer
from visionkit.explain.layers import maps_and_scores
from visionkit.explain.score import Score, gradient, leaf

RELU = (F.relu, torch.relu, Tensor.relu)
RELU_IN_PLACE = (torch.relu_, Tensor.relu_)  # F.relu_ is torch.relu_
HARDTANH_IN_PLACE = F.hardtanh_


def guided_backpropagation(score: Score, images: Tensor) -> Tensor:
    """What in the image speaks for the score, each active unit passing on what is positive only (Springenberg et al.,
    "Striving for Simplicity", 2015, sec. 3.4).

    Args:
        score: (B, C, H, W) -> (B,).
        images: (B, C, H, W) float, normalised.
    Returns:
        (B, C, H, W) float32, signed.
    """
    with Rectifying(guided=True):
        return gradient(score, images)


def deconvnet(score: Score, images: Tensor) -> Tensor:
    """The score projected back to pixels by a deconvnet (Zeiler and Fergus, "Visualizing and Understanding
    Convolutional Networks", 2014, sec. 2.1), every unit passing on what is positive, active or not.

    Args:
        score: (B, C, H, W) -> (B,).
        images: (B, C, H, W) float, normalised.
    Returns:
        (B, C, H, W) float32, signed.
    """
    with Rectifying(guided=False):
        return gradient(score, images)


def project(model: nn.Module, layer: str, images: Tensor, channel: int, place: tuple[int, int] | None = None) -> Tensor:
    """What in the image one activation comes from (Zeiler and Fergus 2014, sec. 2.1): it goes down a deconvnet by
    itself, all others of its layer being 0.

    Args:
        model: its layers up to this one are used.
        layer: "tail", a stage or the path of a module.
        images: (B, C, H, W) float, normalised.
        channel: of the layer's maps.
        place: (row, column) of the layer's maps; None where the channel is strongest, in each image (the first of
            equals).
    Returns:
        (B, C, H, W) float32, signed; 0 all over where the activation is 0.
    Raises:
        ConfigError: no such layer, channel or place.
    """
    images = leaf(images)
    with torch.enable_grad(), Rectifying(guided=False):
        maps, _ = maps_and_scores(model, lambda _given: answer(model, images), images, layer)  # (B, C', h, w)
        signal = torch.zeros_like(maps)
        rows, columns = _places(maps, layer, channel, place)  # (B,), (B,)
        index = torch.arange(len(maps), device=maps.device)
        signal[index, channel, rows, columns] = maps.detach()[index, channel, rows, columns]
        (found,) = torch.autograd.grad(maps, images, signal)
    return found.detach().float()


def _places(maps: Tensor, layer: str, channel: int, place: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Row and column, (B,) each, of the activation that is wanted of maps (B, C, h, w)."""
    count, channels, height, width = maps.shape
    if not 0 <= channel < channels:
        raise ConfigError(f"channel={channel}: layer {layer} has channels 0 ... {channels - 1}.")
    if place is None:
        best = maps.detach()[:, channel].flatten(1).argmax(dim=1)  # (B,)
        return best // width, best % width
    row, column = place
    if not (0 <= row < height and 0 <= column < width):
        raise ConfigError(f"place={place}: the maps of layer {layer} have {height} rows and {width} columns.")
    return torch.full((count,), row, device=maps.device), torch.full((count,), column, device=maps.device)


class Rectifying(TorchFunctionMode):
    """Within, rectifications go forward as ever and backward by the rule of guided backpropagation or the deconvnet.

    Functions are caught as they are called, modules as they call functions; no module is changed, and when the block
    ends, by an exception too, nothing is left. A rectification inside of a compiled or scripted part is not seen.

    Args:
        guided: whether a unit also has to be active, as in guided backpropagation.
    """

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _rectification(func, args, kwargs or {})
        if given is None:
            return func(*args, **(kwargs or {}))
        maps, high, in_place = given
        return _Rectify.apply(maps, high, in_place, self.guided)


def _rectification(func: Any, args: Any, kwargs: Any) -> tuple[Tensor, float, bool] | None:
    """The argument of a rectification, its upper bound and whether it is in place; None for other functions."""
    if func in RELU:
        return _relu(*args, **kwargs)
    if func in RELU_IN_PLACE:
        maps, high, _ = _relu(*args, **kwargs)
        return maps, high, True
    if func is F.relu6:
        return _relu6(*args, **kwargs)
    if func is F.hardtanh or func is HARDTANH_IN_PLACE:
        maps, low, high, in_place = _hardtanh(*args, **kwargs)
        return (maps, high, in_place or func is HARDTANH_IN_PLACE) if low == 0 else None
    return None


def _relu(input: Tensor, inplace: bool = False) -> tuple[Tensor, float, bool]:
    return input, float("inf"), inplace


def _relu6(input: Tensor, inplace: bool = False) -> tuple[Tensor, float, bool]:
    return input, 6.0, inplace


def _hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> tuple[Tensor, float, float, bool]:
    return input, min_val, max_val, inplace


class _Rectify(torch.autograd.Function):
    """min(max(x, 0), high), with the rule of guided backpropagation or of the deconvnet as its derivative."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, high: float, in_place: bool, guided: bool) -> Tensor:
        ctx.guided = guided
        if guided:
            ctx.save_for_backward((maps > 0) & (maps < high))
        if in_place:
            ctx.mark_dirty(maps)
            return maps.clamp_(0, high)
        return maps.clamp(0, high)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None, None]:
        signal = signals[0].clamp(min=0)
        if ctx.guided:
            signal = signal * ctx.saved_tensors[0]
        return signal, None, None, None

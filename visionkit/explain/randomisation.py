"""The randomisation check: a map that stays when the weights go does not explain the network (Adebayo et al., "Sanity
Checks for Saliency Maps", 2018, sec. 4)."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visionkit.explain.score import Score


def weight_layers(model: nn.Module, score: Score, images: Tensor) -> list[tuple[str, ...]]:
    """The layers with weights that a score needs, in the order in which they run.

    Args:
        model: what the score is computed with.
        score: (B, C, H, W) -> (B,).
        images: (B, C, H, W) float, normalised, as small as the network takes.
    Returns:
        for each layer the paths of its modules: the convolution or linear layer, then the norms up to the next one.
        Parts that the score does not need (auxiliary heads, the normalisation of pixels) are in none.
    """
    order: list[str] = []

    def note(path: str) -> Any:
        return lambda _module, _given: None if path in order else order.append(path)

    own = {path: module for path, module in model.named_modules() if _tensors(module)}
    hooks = [module.register_forward_pre_hook(note(path)) for path, module in own.items()]
    try:
        with torch.no_grad():
            score(images)
    finally:
        for hook in hooks:
            hook.remove()
    layers: list[list[str]] = []
    for path in order:
        if not layers or any(weight.ndim > 1 for weight in own[path].parameters(recurse=False)):
            layers.append([])
        layers[-1].append(path)
    return [tuple(layer) for layer in layers]


def cascade(model: nn.Module, fresh: nn.Module, layers: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, nn.Module]]:
    """The model with its weights replaced by fresh ones, the last layer's first, then also those of the layer before,
    down to the first layer (sec. 4, "cascading randomization").

    Args:
        model: stays as it is.
        fresh: the same network as its builder makes it, with the initial weights and norms that it has by itself.
        layers: of `weight_layers`.
    Yields:
        the path of the layer that was replaced last, and one copy of the model, which changes on with every step.
    Raises:
        ValueError: `fresh` is another network.
    """
    changed, given = copy.deepcopy(model), dict(fresh.named_modules())
    for layer in reversed(layers):
        for path in layer:
            own, new = _tensors(changed.get_submodule(path)), _tensors(given[path]) if path in given else {}
            if {key: tensor.shape for key, tensor in own.items()} != {key: t.shape for key, t in new.items()}:
                raise ValueError(f"the fresh network is another one: {path} differs")
            with torch.no_grad():
                for key, tensor in own.items():
                    tensor.copy_(new[key])
        yield layer[0], changed


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module itself."""
    return dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))

"""What an explanation may leave behind in a model: nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Within, nothing of a model may change: no hooks, gradients, flags, weights, statistics or modes of torch."""
    before = _state(model)
    values = {key: value.clone() for key, value in model.state_dict().items()}
    yield
    assert _state(model) == before
    for key, value in model.state_dict().items():
        assert torch.equal(value, values[key]), key


def _state(model: nn.Module) -> list[object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found: list[object] = [torch.is_grad_enabled(), torch.overrides._get_current_function_mode_stack()]
    for path, module in model.named_modules():
        found.append((path, type(module), module.training, [len(getattr(module, name)) for name in hooks]))
    return found + [(path, p.requires_grad, p.grad is None) for path, p in model.named_parameters()]

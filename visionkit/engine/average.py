"""The running average of a model's weights, which is often better than the weights themselves."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of parameters and buffers (Polyak and Juditsky 1992; Tarvainen and Valpola 2017).

    After t updates the decay in use is min(decay, (1 + t) / (10 + t)), so that the first weights are soon forgotten.
    Whole numbers (counters) are copied.

    Args:
        model: the weights to begin with, on their device.
        decay: share of the old average that each update keeps, 0 ... 1; 0.999 averages over about 1,000 steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """The average becomes the present weights (after something else than a training step has set them)."""
        self.weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.updates = 0

    def take_over(self) -> None:
        """The average becomes the model's weights."""
        self._set(self.weights)

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after an optimizer step."""
        self.updates += 1
        share = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = self.model.state_dict()
        floats = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floats], [now[name] for name in floats], share)
        for name in now.keys() - floats:
            self.weights[name].copy_(now[name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model has the averaged weights, afterwards its own again."""
        own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self._set(self.weights)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, value in self.model.state_dict().items():
            value.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self.weights = {name: value.to(self.weights[name].device).clone() for name, value in state["weights"].items()}

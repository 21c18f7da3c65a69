"""The phases of a run: what is trained, how, how long, and from which weights. Or a function that fits something."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from visionkit.engine.optim import ParameterGroup, has_prefix
from visionkit.engine.schedule import Schedule
from visionkit.errors import ConfigError


@dataclass(frozen=True)
class Phase:
    """Gradient steps. Phases follow one another with the weights at hand unless `weights_from` says otherwise."""

    name: str
    steps: int  # optimizer steps
    groups: Callable[[nn.Module], list[ParameterGroup]]  # e.g. partial(parameter_groups, lr=0.02, weight_decay=1e-4)
    optimizer: Callable[[list[ParameterGroup]], torch.optim.Optimizer]  # e.g. partial(torch.optim.SGD, momentum=0.9)
    schedule: Callable[[], Schedule]  # makes a fresh one: a schedule may have a state
    trainable: Sequence[str] | Callable[[str, nn.Parameter], bool] | None = None
    """Prefixes of parameter names: of those trainable when the run began, these. A function (name, parameter) -> bool
    decides alone. None: all those trainable when the run began."""
    losses: Collection[str] | None = (
        None  # names of those that count; each trainable part needs one of them; None = all
    )
    weights_from: Callable[[nn.Module], None] | None = None  # called once, before the first step of the phase
    evaluate: bool = True  # False: a stage on the way, whose weights are never the run's result


@dataclass(frozen=True)
class FitPhase:
    """One call instead of steps (SVMs, ridge regression). It must be deterministic: an interrupted one starts over."""

    name: str
    fit: Callable[[nn.Module], Mapping[str, float | None] | None]  # what it returns is recorded
    evaluate: bool = True  # False: as in `Phase`


def set_trainable(model: nn.Module, phase: Phase, at_start: Mapping[str, bool]) -> None:
    """Switches `requires_grad` as `phase.trainable` says; `at_start` has the flags from the beginning of the run.

    Raises:
        ConfigError: a prefix that no parameter has.
    """
    wanted = phase.trainable
    if wanted is not None and not callable(wanted):
        for prefix in wanted:
            if not any(has_prefix(name, prefix) for name in at_start):
                raise ConfigError(f"phase {phase.name}: no parameter of the model is called {prefix!r} or {prefix}.*.")
    for name, parameter in model.named_parameters():
        if callable(wanted):
            parameter.requires_grad_(wanted(name, parameter))
        else:
            chosen = wanted is None or any(has_prefix(name, prefix) for prefix in wanted)
            parameter.requires_grad_(at_start[name] and chosen)


def training_mode(model: nn.Module) -> None:
    """`model.train()`, but a batch norm whose own scale and shift are frozen keeps its statistics too."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()

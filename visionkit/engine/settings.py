"""What a run is given besides model and phases: how it is driven, where data come from, what it returns."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from visionkit.structures import Batch, Targets

Validate = Callable[[nn.Module, int], Mapping[str, float | None] | None]


class Loader(Protocol):
    """Training data without end, a function of the position alone. A step takes `FitSettings.accumulate` batches."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the data, at least 1."""

    def batches(self, start_step: int, /) -> Iterator[tuple[Batch, Targets]]:
        """This process's batches from optimizer step `start_step` of the phase on, without end."""


@dataclass(frozen=True)
class FitSettings:
    """How a run is driven."""

    precision: str = "fp32"  # fp32, bf16, fp16 (CUDA only), auto (bf16 where the device has it)
    accumulate: int = 1  # batches a step
    clip_norm: float | None = None  # largest gradient norm
    channels_last: bool = False
    checkpoint_steps: int | None = None  # save every so many steps too; every evaluation saves anyway
    evaluate_steps: int | None = None  # None: every epoch; 0: at the end of a phase only, where it is always done
    ema: float | None = None  # decay of the running average of the weights, which is what is evaluated then
    patience: int | None = None  # evaluations of a phase without a gain before it is ended early
    log_steps: int = 20  # steps a line of metrics.jsonl
    device: torch.device | str = "cpu"
    seed: int = 0
    tensorboard: bool = True
    quiet: bool = False  # nothing on the terminal


@dataclass(frozen=True)
class FitResult:
    """The best and the last evaluation, {"step": ..., metric: value ...} (empty without any), the steps done, and the
    seconds that all processes of the run took one after the other."""

    best: dict[str, Any]
    last: dict[str, Any]
    step: int
    seconds: float = field(default=0.0, compare=False)

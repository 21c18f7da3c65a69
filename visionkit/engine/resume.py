"""Going on from a checkpoint: whether it fits the run, and what is no longer as it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionkit.engine.cursor import Cursor
from visionkit.engine.distributed import world_size
from visionkit.errors import ConfigError


def take_up(model: nn.Module, path: Path, state: dict[str, Any], phase_names: Sequence[str]) -> Cursor:
    """Gives the model its weights back, and where the run stood.

    Raises:
        ConfigError: the checkpoint has other phases or another model.
    """
    if state["phase_names"] != list(phase_names):
        raise ConfigError(f"checkpoint {path} has the phases {state['phase_names']}, this run has {list(phase_names)}.")
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(f"checkpoint {path} does not fit the model: {reason}") from None
    return Cursor(**state["cursor"])


def same_threads(state: dict[str, Any], seed: int) -> list[str]:
    """Sets the checkpoint's number of CPU threads. Returns what else keeps the run from repeating bit for bit."""
    then, now = state["threads"], torch.get_num_threads()
    sentences = []
    if then != now:
        torch.set_num_threads(then)
        sentences.append(
            f"the checkpoint was written with {then} CPU threads, this process has {now}: "
            f"set to {then}, since results repeat bit for bit for one count only."
        )
    present = {"world_size": world_size(), "torch": str(torch.__version__), "seed": seed}
    changed = [f"{name} was {state[name]} and is {value}" for name, value in present.items() if state[name] != value]
    return sentences + [f"{change}: the run goes on, but not bit for bit." for change in changed]

"""The values that every run has, checked before anything heavy is imported: `seed` and the group `trainer`.

Plain Python: no schema library knows "a whole number, also if written 1e3". The keys are those of
configs/trainer/default.yaml; a test holds the two together.
"""

import difflib
import math
import re
from collections.abc import Callable
from typing import Any

from visionkit.errors import ConfigError

Check = tuple[str, Callable[[Any], Any]]  # what is wanted, in words; value -> the value to use, or ValueError


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def _whole(low: int) -> Check:
    def check(value: Any) -> int:
        _require(isinstance(value, int | float) and not isinstance(value, bool))
        _require(math.isfinite(value) and value == int(value) and value >= low)
        return int(value)  # `1e3` is a float in YAML's and Hydra's grammar

    return f"a whole number of at least {low}", check


def _above_zero() -> Check:
    def check(value: Any) -> float:
        _require(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0)
        return float(value)

    return "a number above 0", check


def _truth() -> Check:
    def check(value: Any) -> bool:
        _require(isinstance(value, bool))
        return bool(value)

    return "true or false", check


def _words(*words: str) -> Check:
    def check(value: Any) -> str:
        _require(value in words)
        return str(value)

    return "one of " + ", ".join(words), check


def _matching(wanted: str, pattern: str) -> Check:
    def check(value: Any) -> str:
        _require(isinstance(value, str) and re.fullmatch(pattern, value) is not None)
        return str(value)

    return wanted, check


def _or_null(other: Check) -> Check:
    wanted, inner = other
    return f"{wanted}, or null", lambda value: None if value is None else inner(value)


TRAINER: dict[str, Check] = {
    "epochs": _whole(1),
    "max_steps": _or_null(_whole(1)),
    "batch_size": _whole(1),
    "base_batch": _or_null(_whole(1)),
    "accumulate": _whole(1),
    "clip_norm": _or_null(_above_zero()),
    "precision": _words("fp32", "bf16", "fp16"),
    "channels_last": _truth(),
    "compile": _truth(),
    "device": _matching("auto, cpu, cuda or cuda:N", r"auto|cpu|cuda(:\d+)?"),
    "workers": _whole(0),
    "threads": _or_null(_whole(1)),
    "deterministic": _truth(),
    "freeze": _or_null(_matching("the name of a stage, such as c4", r"\w+")),
    "evaluate_epochs": _whole(0),
    "checkpoint_steps": _or_null(_whole(1)),
    "log_steps": _whole(1),
}


def checked_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The values to use, by dotted key, of those common keys that the plain configuration has.

    Raises:
        ConfigError: names the key, the value and what is wanted.
    """
    checked = {}
    if "seed" in config:
        checked["seed"] = _checked("seed", config["seed"], _whole(0))
    trainer = config.get("trainer", {})
    if not isinstance(trainer, dict):
        raise ConfigError(f"trainer={trainer}: trainer is a group of keys, such as trainer.epochs.")
    for key, value in trainer.items():
        if key not in TRAINER:  # an experiment's file may hold it: Hydra checks keys of the command line only
            near = difflib.get_close_matches(key, TRAINER, n=1)
            raise ConfigError(f"unknown key trainer.{key}; did you mean trainer.{near[0] if near else 'epochs'}?")
        checked[f"trainer.{key}"] = _checked(f"trainer.{key}", value, TRAINER[key])
    return checked


def _checked(key: str, value: Any, check: Check) -> Any:
    wanted, inner = check
    try:
        return inner(value)
    except ValueError:
        raise ConfigError(f"{key}={'null' if value is None else value}: {key} has to be {wanted}.") from None

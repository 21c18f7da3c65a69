"""The values that runs and tools share, checked before anything heavy is imported.

These are `seed` and its like at the top, and the groups `trainer` and `optim`, which no `_target_` checks. Plain
Python: no schema library knows "a whole number, also if written 1e3". The keys of `trainer` are those of
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


def _seed() -> Check:
    wanted, whole = _whole(0)

    def check(value: Any) -> int:
        found: int = whole(value)
        _require(found < 2**63)
        return found

    return f"{wanted}, below 2**63", check


def _number(low: float, high: float = math.inf) -> Check:
    def check(value: Any) -> float:
        _require(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
        _require(low <= value <= high)
        return float(value)

    return f"a number of at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}", check


def _above_zero() -> Check:
    def check(value: Any) -> float:
        _require(value != 0)
        return _number(0)[1](value)

    return "a number above 0", check


def _share() -> Check:
    def check(value: Any) -> float:
        _require(value not in (0, 1))
        return _number(0, 1)[1](value)

    return "a number between 0 and 1", check


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


def _group(wanted: str) -> Check:
    def check(value: Any) -> dict[str, Any]:
        _require(isinstance(value, dict))
        return dict(value)

    return wanted, check


def _or_null(other: Check) -> Check:
    wanted, inner = other
    return f"{wanted}, or null", lambda value: None if value is None else inner(value)


DEVICE = _matching("auto, cpu, cuda or cuda:N", r"auto|cpu|cuda(:\d+)?")

TRAINER: dict[str, Check] = {
    "epochs": _whole(1),
    "max_steps": _or_null(_whole(1)),
    "batch_size": _whole(1),
    "base_batch": _or_null(_whole(1)),
    "accumulate": _whole(1),
    "clip_norm": _or_null(_above_zero()),
    "precision": _words("fp32", "bf16", "fp16", "auto"),
    "channels_last": _truth(),
    "compile": _truth(),
    "device": DEVICE,
    "workers": _whole(0),
    "threads": _or_null(_whole(1)),
    "deterministic": _truth(),
    "shuffle": _truth(),
    "ema": _or_null(_share()),
    "patience": _or_null(_whole(1)),
    "freeze": _or_null(_matching("the name of a stage, such as c4", r"\w+")),
    "evaluate_epochs": _whole(0),
    "checkpoint_steps": _or_null(_whole(1)),
    "log_steps": _whole(1),
}


OPTIM: dict[str, Check] = {
    "lr": _above_zero(),
    "weight_decay": _number(0),
    "norm_decay": _number(0),
    "bias_decay": _number(0),
    "lr_multipliers": _group("a group of factors, such as {encode.backbone: 0.1}"),
    "depth_factor": _above_zero(),
    "optimizer": _group("a group with a _target_"),
}

TOP: dict[str, Check] = {  # keys that several tools have outside of any group
    "seed": _seed(),
    "batch_size": _whole(1),
    "workers": _whole(0),
    "device": DEVICE,
    "split": _words("train", "val"),
    "iou_type": _or_null(_words("bbox", "segm")),
    "threshold": _number(0, 1),
    "limit": _or_null(_whole(1)),
    "count": _whole(1),
    "epoch": _whole(0),
    "only_table": _truth(),
}


def checked_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The values to use, by dotted key, of those common keys that the plain configuration has.

    Raises:
        ConfigError: names the key, the value and what is wanted.
    """
    checked = {key: _checked(key, config[key], check) for key, check in TOP.items() if key in config}
    for group, checks in (("trainer", TRAINER), ("optim", OPTIM)):
        values = config.get(group, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{group}={values}: {group} is a group of keys, such as {group}.{next(iter(checks))}.")
        for key, value in values.items():
            if key not in checks:  # an experiment's file may hold it: Hydra checks keys of the command line only
                near = difflib.get_close_matches(key, checks, n=1)
                hint = f"did you mean {group}.{near[0]}?" if near else f"{group} has {', '.join(checks)}."
                raise ConfigError(f"unknown key {group}.{key}; {hint}")
            checked[f"{group}.{key}"] = _checked(f"{group}.{key}", value, checks[key])
    return checked


def _checked(key: str, value: Any, check: Check) -> Any:
    wanted, inner = check
    try:
        return inner(value)
    except ValueError:
        raise ConfigError(f"{key}={'null' if value is None else value}: {key} has to be {wanted}.") from None

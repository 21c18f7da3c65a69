"""The settings of a search, checked before torch is imported (the keys of configs/search.yaml)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionkit.errors import ConfigError

METHODS = ("controller", "random")

_WHOLE = {"samples": 1, "nodes": 1, "width": 1, "cells": 1, "size": 8, "pictures": 1, "train_steps": 1, "hidden": 1,
          "final_steps": 0, "random_cells": 0, "threads": 1}  # fmt: skip
_NUMBERS = {"lr": math.inf, "controller_lr": math.inf, "entropy": math.inf, "baseline": 1.0}
_ABOVE_ZERO = ("lr", "controller_lr")


@dataclass(frozen=True)
class SearchSettings:
    """See configs/search.yaml for what each of them is."""

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    operations: tuple[str, ...]
    samples: int
    nodes: int
    width: int
    cells: int
    size: int
    pictures: int
    batch_size: int
    lr: float
    train_steps: int
    controller_lr: float
    entropy: float
    baseline: float
    hidden: int
    final_steps: int
    random_cells: int
    threads: int

    @property
    def steps(self) -> int:
        """Training steps of everything together, were no cell sampled twice."""
        final = self.final_steps * (len(self.methods) + self.random_cells)
        return len(self.seeds) * (len(self.methods) * self.samples * self.train_steps + final)


def checked_search(config: Mapping[str, Any]) -> SearchSettings:
    """The settings of a plain configuration. ConfigError names the key, the value and what is wanted."""
    values: dict[str, Any] = {key: _whole(key, config[key], least) for key, least in _WHOLE.items()}
    values |= {key: _number(key, config[key], most) for key, most in _NUMBERS.items()}
    methods = METHODS if config["method"] == "both" else (config["method"],)
    if methods[0] not in METHODS:
        raise ConfigError(f"method={config['method']}: method has to be one of {', '.join(METHODS)}, both.")
    seeds = [config["seed"]] if config["seeds"] is None else config["seeds"]
    if not isinstance(seeds, list) or not seeds:
        raise ConfigError(f"seeds={seeds}: seeds has to be a list of whole numbers such as [0,1,2], or null.")
    seeds = tuple(_whole("seeds", seed, 0) for seed in seeds)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds={list(seeds)}: a seed is given twice, and would give the same search twice.")
    operations = config["operations"]
    if not isinstance(operations, list) or not all(isinstance(name, str) for name in operations):
        raise ConfigError(f"operations={operations}: operations has to be a list of names such as [identity,sep3].")
    return SearchSettings(
        methods=methods, seeds=seeds, operations=tuple(operations), batch_size=config["batch_size"], **values
    )


def _whole(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value % 1 or value < least:
        raise ConfigError(f"{key}={value}: {key} has to be a whole number of at least {least}.")
    return int(value)  # `1e3` is a float in YAML's and Hydra's grammar


def _number(key: str, value: Any, most: float) -> float:
    real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not real or not 0 <= value <= most or (value == 0 and key in _ABOVE_ZERO):
        wanted = "above 0" if key in _ABOVE_ZERO else "of at least 0" if most == math.inf else f"from 0 to {most:g}"
        raise ConfigError(f"{key}={value}: {key} has to be a number {wanted}.")
    return float(value)

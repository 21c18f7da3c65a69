"""Turns what a run carries into what a checkpoint may hold: plain containers, numbers, texts and tensors."""

import enum
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch


def plain(value: Any, where: str = "state") -> Any:
    """A copy of `value` in which every container is a dict, list or tuple and every leaf can be loaded safely.

    numpy scalars become Python numbers, numpy arrays tensors (or lists, when of text), paths texts, mappings
    (OmegaConf's too) dicts, other sequences lists, sets sorted lists, dataclasses dicts of their fields, enum members
    their values, torch devices and dtypes texts.

    Raises:
        TypeError: anything else (a function, an open file ...), named by its place in the state.
    """
    match value:
        case None | bool() | bytes():
            return value
        case enum.Enum():
            return plain(value.value, where)
        case int() | float() | str():
            return _basic(value)
        case torch.Tensor():
            return _own_storage(value.detach())
        case np.generic():
            return value.item()
        case np.ndarray():
            return value.tolist() if value.dtype.kind in "USO" else torch.from_numpy(value.copy())
        case PurePath() | torch.device() | torch.dtype():
            return str(value)
        case Mapping():
            return {_key(key, where): plain(item, f"{where}.{key}") for key, item in value.items()}
        case tuple():
            return tuple(plain(item, f"{where}[{index}]") for index, item in enumerate(value))
        case Sequence():
            return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        case Set():
            return sorted(plain(item, where) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), f"{where}.{field.name}") for field in fields(value)}
    raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")


def _basic(value: int | float | str) -> int | float | str:
    """Without the subclass: pickled subclasses (IntEnum, np.float64, np.str_) are refused when loaded."""
    for basic in (int, float, str):
        if isinstance(value, basic):
            return basic(value)
    raise AssertionError(type(value))


def _key(key: Any, where: str) -> Any:
    key = plain(key, where)
    if not isinstance(key, str | int | float | bool | tuple):
        raise TypeError(f"{where} has a key of type {type(key).__name__}, which a checkpoint cannot hold")
    return key


def _own_storage(tensor: torch.Tensor) -> torch.Tensor:
    """A view of a larger storage would drag all of it into the file."""
    bytes_seen = tensor.numel() * tensor.element_size()
    return tensor.clone() if tensor.untyped_storage().nbytes() > bytes_seen else tensor

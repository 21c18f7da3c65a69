"""What a person may ask of an analysis, checked before anything heavy is imported."""

from collections.abc import Sequence
from typing import Any

from visionkit.errors import ConfigError

FORMATS = ("table", "json", "csv")


def checked_format(value: Any) -> str:
    """One of FORMATS."""
    if value not in FORMATS:
        raise ConfigError(f"format={value}: format has to be one of {', '.join(FORMATS)}.")
    return str(value)


def checked_size(value: Any) -> tuple[int, int] | None:
    """A side or [height, width] -> (height, width); None stays None."""
    if value is None:
        return None
    sides = [value, value] if _counts(value) else list(value) if _is_list(value) else []
    if len(sides) != 2 or not all(map(_counts, sides)):
        shown = f"[{','.join(map(str, value))}]" if _is_list(value) else value
        raise ConfigError(f"size={shown}: size has to be a side in pixels, such as 224, or [height,width].")
    return int(sides[0]), int(sides[1])


def checked_count(key: str, value: Any) -> int | None:
    """A whole number of at least 1; None stays None."""
    if value is not None and not _counts(value):
        raise ConfigError(f"{key}={value}: {key} has to be a whole number of at least 1.")
    return None if value is None else int(value)


def checked_names(value: Any) -> tuple[str, ...]:
    """A network's name or a list of them -> the names, each once; none for null."""
    names = list(value) if _is_list(value) else [] if value is None else [value]
    if not all(isinstance(name, str) and name.replace("_", "").replace("-", "").isalnum() for name in names):
        shown = ",".join(map(str, names))
        raise ConfigError(f"compare=[{shown}]: compare is a list of networks, such as [alexnet,vgg16].")
    return tuple(dict.fromkeys(names))


def checked_mode(backbone: bool, **modes: Any) -> str | None:
    """Which of the `modes` was asked for, None for the plain count of a backbone; exactly one thing at a time."""
    for name, value in modes.items():
        if name != "compare" and not isinstance(value, bool):
            raise ConfigError(f"{name}={value}: {name} has to be true or false.")
    asked = [*(["backbone"] if backbone else []), *(name for name, value in modes.items() if value)]
    if not asked:
        raise ConfigError("nothing to analyze: give backbone=NAME, compare=[NAME,NAME], lecture=true or pictures=true.")
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} do not go together: give one of them.")
    return None if backbone else asked[0]


def _counts(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 1 <= value < 1e9 and value == int(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)

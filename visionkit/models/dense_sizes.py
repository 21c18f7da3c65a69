"""How pictures come to the size of a network that says something about each place: resized, or as they are."""

from collections.abc import Mapping
from typing import Any

from visionkit.errors import ConfigError
from visionkit.models.ranges import check_ranges
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize

THINNEST = 8  # times the short side: what the long side of a thin picture is resized to at most


def check_dense_ranges(settings: Mapping[str, Any]) -> None:
    """`check_ranges`, but `short` and `long` may be null; `long` goes with `short`."""
    check_ranges({key: value for key, value in settings.items() if value is not None or key not in ("short", "long")})
    if settings.get("long") is not None and settings.get("short") is None:
        raise ConfigError(
            f"task.long={settings['long']} bounds the long side of pictures that are resized by their short one: give "
            "task.short too."
        )


def dense_resize(short: int | None, long: int | None) -> TestResize | KeepSize:
    """The rule of `short` and `long`, pixels; without `short` pictures stay as they are. Canvases are not rounded up:
    the models pad what they need."""
    return KeepSize() if short is None else TestResize(short, long or THINNEST * short, multiple=1)

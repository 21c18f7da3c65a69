"""Loops that numpy cannot express, compiled by numba on their first call where it is installed.

The Python that is written down is the reference. Without numba it is what runs: the same bits, some twenty times
slower (measured on whole searches).
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled when it is first called; `.__wrapped__` is the plain one.

    It has to stand by itself (no call of another function of ours): numba's cache knows one file only. Compiling takes
    seconds once; the result is cached beside the file, or in the user's cache folder where that is read-only.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        run: Callable[P, R] = _build(function)
        return run(*args, **kwargs)

    return call


@functools.cache
def has_numba() -> bool:
    try:
        import numba  # noqa: F401  (half a second: not before it is needed)
    except ImportError:
        return False
    return True


@functools.cache
def _build(function: Callable[..., Any]) -> Callable[..., Any]:
    if not has_numba():
        return function
    import numba

    try:
        fast: Callable[..., Any] = numba.njit(cache=True)(function)
    except RuntimeError:  # "cannot cache function": no folder can be written
        fast = numba.njit(function)
    return fast

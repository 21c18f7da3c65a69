"""Runs a reading function over a stream of requests, in this process or in worker processes, in order.

An exception that crosses a process boundary loses its type or, if it cannot be pickled, hangs the main process. So a
worker never raises: it returns the sentence, and the main process raises it.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from visionkit.errors import VisionKitError

Request = TypeVar("Request")
Result = TypeVar("Result")

TIMEOUT = 120  # seconds that one batch may take a worker before the run ends instead of hanging


def run_workers(
    read: Callable[[Request], Result], requests: Iterable[Request], workers: int, pin_memory: bool = False
) -> Iterator[Result]:
    """`read(request)` for each request, in order. With 0 workers in this process, else ahead of time in so many.

    One worker is often slower than none: take 0 or at least 2. `requests` may be endless; closing the iterator stops
    the workers. The global random generators are not touched.
    """
    if workers == 0:
        for request in requests:
            result = read(request)
            yield _pinned(result) if pin_memory else result
        return
    loader = DataLoader(
        _Guarded(read),
        sampler=_Once(requests),
        batch_size=None,
        num_workers=workers,
        collate_fn=_same,
        worker_init_fn=_settle,
        timeout=TIMEOUT,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # or it would draw its base seed from the global one
    )
    for result in loader:
        if isinstance(result, _Failure):
            if result.trace:
                result.error.add_note(result.trace)
            raise result.error
        yield result


@dataclass(frozen=True)
class _Failure:
    error: Exception
    trace: str  # of a bug; a person's mistake needs none


class _Guarded(Dataset[Any], Generic[Request, Result]):
    """Hands back errors as values."""

    def __init__(self, read: Callable[[Request], Result]) -> None:
        self._read = read

    def __getitem__(self, request: Request) -> Result | _Failure:
        try:
            return self._read(request)
        except VisionKitError as error:
            return _Failure(type(error)(str(error)), "")
        except Exception as error:
            return _Failure(RuntimeError(f"{type(error).__name__}: {error}"), traceback.format_exc())


class _Once(Iterable[Request]):
    """Requests as a DataLoader wants its sampler."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = requests

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)


def _settle(worker: int) -> None:
    """A worker's first act."""
    if hasattr(os, "setpgrp"):  # Ctrl-C and torchrun signal whole groups, and a run that shall save needs its workers
        os.setpgrp()  # they end when it tells them, or when it is gone
    torch.set_num_threads(1)  # as many processes as cores are enough
    if cv2 := sys.modules.get("cv2"):  # an augmentation has imported it
        cv2.setNumThreads(0)


def _same(item: Result) -> Result:
    return item


def _pinned(item: Any) -> Any:
    if isinstance(item, tuple):
        return tuple(_pinned(part) for part in item)
    return item.pin_memory() if hasattr(item, "pin_memory") else item

"""Interleaved repeats: both sides see the same moments of a busy machine, so their ratio means something."""

import os
import statistics
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads slow a shared machine thirty-fold


def medians(sides: Mapping[str, Callable[[], object]], repeats: int = 7, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each side; one call of every side, in turn, `repeats` times after `warmup` unmeasured ones."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(warmup + repeats):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            if repeat >= warmup:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def report(title: str, seconds: Mapping[str, float], ours: str = "visionkit") -> None:
    """One line: each side in milliseconds, and how many times faster ours is than each other."""
    shown = "  ".join(f"{name} {value * 1000:.1f} ms" for name, value in seconds.items())
    ratios = "  ".join(f"{value / seconds[ours]:.2f} x {name}" for name, value in seconds.items() if name != ours)
    print(f"{title}: {shown}  ->  {ratios}", flush=True)

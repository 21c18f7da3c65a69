import sys

import numpy as np
import pytest

from visionkit.ops import compiled as module
from visionkit.ops.compiled import compiled, has_numba


def total(values: np.ndarray) -> float:
    """Doubled."""
    found = 0.0
    for i in range(len(values)):
        found += values[i]
    return 2 * found


@pytest.fixture
def forgotten():
    """Whether numba is there is asked again, before the test and after it."""
    module.has_numba.cache_clear()
    yield
    module.has_numba.cache_clear()


def test_a_compiled_function_keeps_name_and_original():
    fast = compiled(total)
    assert fast.__name__ == "total" and fast.__wrapped__ is total
    assert fast(np.arange(4.0)) == total(np.arange(4.0)) == 12
    assert fast(np.arange(0.0)) == 0


def test_without_numba_the_written_code_runs(forgotten, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # what a missing package looks like
    calls = []

    def count(value: int) -> int:
        calls.append(value)
        return value + 1

    assert not has_numba()
    assert compiled(count)(3) == 4 and calls == [3]


def test_where_no_cache_can_be_written_it_is_compiled_all_the_same(forgotten, monkeypatch):
    numba = pytest.importorskip("numba")
    njit = numba.njit

    def refuses_to_cache(*args, **kwargs):
        if kwargs.get("cache"):
            raise RuntimeError("cannot cache function 'total': no locator available")
        return njit(*args, **kwargs)

    monkeypatch.setattr(numba, "njit", refuses_to_cache)

    def product(a: int, b: int) -> int:
        return a * b

    assert compiled(product)(6, 7) == 42


def test_importing_the_search_does_not_import_numba():
    import subprocess

    code = "import sys, visionkit.ops.selective_search; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr

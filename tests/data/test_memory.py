import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup")
def test_memory_of_workers_does_not_grow() -> None:
    """40,000 objects, two workers, three epochs, measured in a process of its own."""
    script = Path(__file__).parents[2] / "benchmarks" / "loader_memory.py"
    printed = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True, timeout=300).stdout
    assert printed.startswith("40000 objects")
    growth = [float(number) for number in re.findall(r"(?:Uss|Pss) ([+-][\d.]+) %", printed)]
    own, share = growth  # own memory is small (some 17 MiB a worker), so its share of noise is large
    assert own < 15 and share < 5, printed

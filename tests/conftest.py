"""Shared by all tests. Nothing heavy at the top: tests of the command line shall start without torch."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share few cores
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    """Results of torch on CPU repeat bit for bit for one thread count only, and a test that draws random numbers draws
    the same ones each time, in any order of the tests. VISIONKIT_TEST_SEED tries others."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.manual_seed(int(os.environ.get("VISIONKIT_TEST_SEED", "0")))


def _shared(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    if not Path(value).is_dir():
        pytest.skip(f"{variable} names no folder: {value}")
    return Path(value)


@pytest.fixture(scope="session")
def datasets_root() -> Path:
    """The folder of real data sets; the test is skipped without one."""
    return _shared("VISIONKIT_DATASETS")


@pytest.fixture(scope="session")
def weights_root() -> Path:
    """The folder of published weights; the test is skipped without one."""
    return _shared("VISIONKIT_WEIGHTS")

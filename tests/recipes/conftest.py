"""Makes the helpers beside the tests importable, and leaves torch's switches as they were."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Iterator[None]:
    """Training makes torch deterministic for the rest of the process."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The run's folder. VGG16's checkpoints are too large to be left for pytest to keep."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)

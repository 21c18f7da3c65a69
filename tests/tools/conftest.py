"""Makes the helpers beside the tests importable by their file names, whatever pytest's import mode is."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_runs import SMALL, CocoTree, Outcome, run_tool  # noqa: E402 (after the path)


@pytest.fixture(autouse=True)
def _settings_of_torch() -> Iterator[None]:
    """Training makes torch deterministic for the rest of its process, which here is other tests' too."""
    with _restored():
        yield


@pytest.fixture
def tool(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`tool("train", "seed=1", ...)`: the exit code and what was printed."""

    def call(name: str, *arguments: Any) -> Outcome:
        capfd.readouterr()
        code = run_tool(name, *arguments)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def coco_tree(tmp_path: Path) -> CocoTree:
    """A tree of the test's own, in a folder whose name needs quotes."""
    return CocoTree(tmp_path / "coco tree, own")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of the small detector for all tests of a file, which leave it as it is: its folder, data, checkpoints."""
    import torch

    folder = tmp_path_factory.mktemp("trained")
    tree, run = CocoTree(folder / "coco"), folder / "run"
    torch.set_num_threads(1)
    with _restored():
        assert run_tool("train", *SMALL, *tree.arguments, "trainer.max_steps=4", f"output={run}") == 0
    return SimpleNamespace(run=run, tree=tree, best=run / "checkpoints/best.pt", last=run / "checkpoints/last.pt")


class _restored:
    """Context manager: torch's switch for deterministic kernels is afterwards as it was."""

    def __enter__(self) -> None:
        import torch

        self.before = torch.are_deterministic_algorithms_enabled()

    def __exit__(self, *_: object) -> None:
        import torch

        torch.use_deterministic_algorithms(self.before)

"""What is paid for: `import visionkit` and a tool's --help load nothing heavy. By module names, never by seconds."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "albumentations", "cv2", "pycocotools", "matplotlib", "hydra", "tensorboard")
LATE = ("torchvision", "albumentations")  # imported where they are used, never when a module of the kit is read
FILES = sorted((ROOT / "visionkit").rglob("*.py"))


def loaded_after(code: str) -> set[str]:
    code += f"\nimport sys\nprint('loaded:', *[m for m in {HEAVY!r} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_import_of_the_package_is_cheap():
    assert loaded_after("import visionkit; assert visionkit.__version__; assert callable(visionkit.load)") == set()


def test_import_of_the_config_room_pays_for_hydra_only():
    assert loaded_after("import visionkit.config, visionkit.run_folder") == {"hydra"}


def test_no_module_takes_the_name_of_the_function():
    """A module `visionkit/load.py` would replace the function `visionkit.load` at its first import."""
    assert not (ROOT / "visionkit" / "load.py").exists()


@pytest.mark.parametrize("tool", sorted(p.stem for p in (ROOT / "tools").glob("*.py")))
def test_help_of_every_tool_is_cheap(tool):
    code = f"import runpy, sys\nsys.argv = ['{tool}.py', '--help']\n"
    code += f"try:\n    runpy.run_path({str(ROOT / 'tools' / (tool + '.py'))!r}, run_name='__main__')\n"
    code += "except SystemExit as leaving:\n    assert not leaving.code, leaving.code"
    assert loaded_after(code) <= {"hydra"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT / "visionkit")))
def test_late_imports_are_late(file):
    """torchvision never at the top of a module; albumentations in its one adapter only."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    allowed = {"albumentations"} if file == ROOT / "visionkit" / "data" / "augment.py" else set()
    assert names & set(LATE) <= allowed

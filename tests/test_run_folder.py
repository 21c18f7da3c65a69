"""Where a run is written, and that a second start in the same folder loses nothing of the first."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from visionkit import run_folder
from visionkit.config import from_plain
from visionkit.errors import ConfigError
from visionkit.run_folder import environment, new_run_folder


def test_new_folder_by_experiment_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder.time, "strftime", lambda form: "now")  # two runs in one second
    config = from_plain({"output": None, "experiment": "own", "seed": 3})
    assert new_run_folder(config) == tmp_path / "outputs" / "own" / "now"
    assert new_run_folder(config) == tmp_path / "outputs" / "own" / "now_2"


def test_files_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/train.py", "output=a b"])
    folder = new_run_folder(from_plain({"output": str(tmp_path / "a b"), "sub": {"x": None}, "same": "${sub.x}"}))
    assert sorted(p.name for p in folder.iterdir()) == ["command.txt", "config.yaml", "environment.txt"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["sub"] == {"x": None}
    assert (folder / "command.txt").read_text().endswith("tools/train.py 'output=a b'\n")
    text = (folder / "environment.txt").read_text()
    for name in ("python: 3", "torch: ", "numpy: ", "commit: ", "processor: "):
        assert name in text


def test_continued_folder_keeps_its_config_and_grows_its_history(tmp_path):
    folder = new_run_folder(from_plain({"output": str(tmp_path / "run"), "seed": 1}))
    first = (folder / "config.yaml").read_bytes()
    assert new_run_folder(from_plain({"output": str(tmp_path / "run"), "seed": 1, "resume": "auto"})) == folder
    assert (folder / "config.yaml").read_bytes() == first
    assert len((folder / "command.txt").read_text().splitlines()) == 2
    assert (folder / "environment.txt").read_text().count("python: ") == 2


def test_a_run_that_starts_over_states_its_own_config(tmp_path):
    for seed in (1, 2):
        config = from_plain({"output": str(tmp_path / "run"), "seed": seed})
        folder = new_run_folder(config, starts_over=True)
        assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == seed


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_output_that_is_a_file(tmp_path, output):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="file"):
        new_run_folder(from_plain({"output": str(tmp_path / output)}))
    assert (tmp_path / "file").read_text() == "mine"


def test_parent_that_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").write_text("mine")
    with pytest.raises(ConfigError, match="cannot be written"):
        new_run_folder(from_plain({"output": None, "experiment": "own"}))


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    told = {"value": ("", "")}

    def tell(folder: str, error: str) -> tuple[str, str]:
        if folder or error:
            told["value"] = (folder, error)
        return told["value"]

    monkeypatch.setattr(run_folder, "_told_by_rank_0", tell)
    config = from_plain({"output": str(tmp_path / "run")})
    folder = new_run_folder(config, rank=0, world=2)
    assert new_run_folder(config, rank=1, world=2) == folder
    assert len((folder / "command.txt").read_text().splitlines()) == 1
    (tmp_path / "file").write_text("mine")
    for rank in (0, 1):
        with pytest.raises(ConfigError):
            new_run_folder(from_plain({"output": str(tmp_path / "file")}), rank=rank, world=2)


def test_commit_of_a_clone(tmp_path):
    assert "commit: none\n" in environment(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert f"commit: {head}\n" in environment(tmp_path)
    Path(tmp_path / "a").write_text("2")
    assert f"commit: {head} + changes\n" in environment(tmp_path)

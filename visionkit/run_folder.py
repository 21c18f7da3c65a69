"""The folder of a run and the three files that say what it was: config.yaml, command.txt, environment.txt."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from visionkit.config import to_yaml
from visionkit.errors import ConfigError

SUMMARY = "summary.json"
CLONE = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "opencv-python-headless", "albumentations", "pycocotools",
            "faster-coco-eval", "hydra-core", "timm")  # fmt: skip
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "WORLD_SIZE")


def new_run_folder(config: Any, rank: int = 0, world: int = 1, *, starts_over: bool = False) -> Path:
    """Makes the run's folder and writes its three files; call it when data and model have been built without error.

    The folder is `config.output`, or else `outputs/<experiment>/<time>`, new and chosen by rank 0, which tells the
    others through torch.distributed (initialised already where `world > 1`). In a folder that is continued,
    config.yaml is kept (unless the run `starts_over`) and the two text files grow by one entry, so that the history
    stays readable.

    Returns the absolute path. Raises ConfigError when the folder cannot be made or written.
    """
    folder, error = "", ""
    if rank == 0:
        try:
            folder = str(_made(config))
            _write(Path(folder), config, starts_over)
        except OSError as problem:
            error = f"output folder {folder or config.get('output')} cannot be written ({problem.strerror})."
    if world > 1:
        folder, error = _told_by_rank_0(folder, error)
    if error:  # on every rank, so that none waits for another
        raise ConfigError(error)
    return Path(folder)


def write_summary(
    folder: Path, model: Any, trainable: int, seconds: float, more: Mapping[str, float | None] = MappingProxyType({})
) -> None:
    """`summary.json`: what a table that compares runs needs beside their metrics.

    Args:
        trainable: parameters that were trained; 0 = the model was fitted, and what its head holds counts.
        seconds: of training, evaluations included, over all processes that the run took.
        more: further numbers, by name.
    """
    head = getattr(model, "head", None)
    tensors = head.state_dict().values() if trainable == 0 and head is not None else ()
    fitted = trainable + sum(value.numel() for value in tensors)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    content: dict[str, float | None] = {"parameters": parameters, "trainable_parameters": fitted}
    content |= {"train_seconds": round(seconds, 2), **more}
    (folder / SUMMARY).write_text(json.dumps(content, indent=1) + "\n")


def usable_folder(path: str | Path) -> Path:
    """The absolute path of an output folder that is there or can be made; asked before the work, and makes nothing.

    Raises ConfigError when a file is in the way or the place cannot be written.
    """
    folder = Path(path).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise ConfigError(f"output folder {folder} cannot be made: {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"output folder {folder} cannot be written: no permission for {there}.")
    return folder


def log_lines(folder: Path, lines: Sequence[str]) -> None:
    """Appends to the run's log.txt."""
    with (folder / "log.txt").open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def environment(root: Path = CLONE) -> str:
    """What the numbers of a run may depend on: versions, commit, threads, machine. One `name: value` a line."""
    lines = {"time": datetime.now().astimezone().isoformat(timespec="seconds"), "python": sys.version.split()[0]}
    lines["platform"] = platform.platform()
    lines["processor"] = f"{_processor()}, {os.cpu_count()} logical cores"
    lines["commit"] = _commit(root)
    for name in PACKAGES:
        try:
            lines[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lines[name] = "not installed"
    if torch := sys.modules.get("torch"):  # what is not loaded had no part in it
        lines["torch threads"] = str(torch.get_num_threads())
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        lines["cuda devices"] = ", ".join(devices) or "none"
    lines |= {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def _made(config: Any) -> Path:
    if output := config.get("output"):
        folder = Path(output).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    parent = Path("outputs").absolute() / str(config.get("experiment") or "run")
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for name in (stamp, *(f"{stamp}_{i}" for i in range(2, 100))):  # runs that start in one second
        try:
            (parent / name).mkdir(parents=True)
        except FileExistsError:
            if not parent.is_dir():
                raise
            continue
        return parent / name
    raise FileExistsError(17, "a hundred runs started in one second", str(parent))


def _write(folder: Path, config: Any, starts_over: bool) -> None:
    if starts_over or not (folder / "config.yaml").exists():
        unfinished = folder / "config.yaml.tmp"
        unfinished.write_text(to_yaml(config), encoding="utf-8")
        unfinished.replace(folder / "config.yaml")
    with (folder / "command.txt").open("a", encoding="utf-8") as file:
        file.write(f"{shlex.join([Path(sys.executable).name, *sys.argv])}\n")
    text = environment()
    with (folder / "environment.txt").open("a", encoding="utf-8") as file:
        file.write("\n" + text if file.tell() else text)


def _told_by_rank_0(folder: str, error: str) -> tuple[str, str]:
    import torch.distributed as distributed

    message = [folder, error]
    distributed.broadcast_object_list(message, src=0)
    return message[0], message[1]


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit(root: Path) -> str:
    """The commit of the clone, with "+ changes" when files differ from it; "none" outside a clone."""
    if not (root / ".git").exists():
        return "none"
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + (" + changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()

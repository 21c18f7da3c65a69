"""Checkpoint files: written in one piece or not at all, checked when read, holding plain data only."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from visionkit.engine.plain import plain
from visionkit.errors import ConfigError, VisionKitError

KIND = "visionkit checkpoint"
VERSION = 1


class CheckpointWriteError(VisionKitError):
    """A checkpoint could not be written (disk full, no permission). An older file of that name is untouched."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` to `path` so that at every moment the old or the new file is there, complete.

    The data go to a temporary file beside it, down to the disk, and then take over the name in one step.

    Args:
        state: containers, numbers, texts, tensors, and what `plain` makes of the rest.
    Raises:
        CheckpointWriteError: the disk is full, the folder missing or not writable ...
    """
    temporary = path.with_name(f".{path.name}.tmp")  # one name, so that a killed run leaves one stray file at most
    data = {"kind": KIND, "version": VERSION, **plain(state)}
    try:
        with _written(temporary) as file:
            torch.save(data, file)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        message = f"cannot write the checkpoint {path}: {error.strerror or error}; an older one is untouched."
        raise CheckpointWriteError(message) from error


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, every byte of it checked, tensors on the CPU. No code in the file is ever run.

    Raises:
        ConfigError: no such file; cut short; damaged (a flipped bit suffices); not a checkpoint of ours, or too new.
    """
    if not path.is_file():
        raise ConfigError(f"checkpoint {path} does not exist." if not path.exists() else f"{path} is not a file.")
    _check_sums(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # torch passes on whatever a strange pickle provokes
        raise ConfigError(f"{path} is not a checkpoint of this kit: it holds more than plain data.") from error
    if not isinstance(state, dict) or state.get("kind") != KIND:
        raise ConfigError(f"{path} is not a checkpoint of this kit; weights of other origin go to backbone.weights.")
    version = state.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ConfigError(f"checkpoint {path} has format {version}; this version reads up to {VERSION}.")
    return state


def weights_of(state: dict[str, Any]) -> dict[str, Tensor]:
    """The weights to predict with, of a loaded checkpoint: the averaged ones where the run averaged them."""
    average = state.get("average")
    weights: dict[str, Tensor] = state["model"] if average is None else average["weights"]
    return weights


@contextlib.contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """An opened file that is on the disk when the block ends. Given a name, torch would hide the disk's own error."""
    with open(path, "wb") as file:
        try:
            yield file
            file.flush()
        except RuntimeError as error:  # torch's archive writer stumbles over its own footer after a failed write
            cause = error.__context__ or error.__cause__
            raise cause if isinstance(cause, OSError) else error from None
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_sums(path: Path) -> None:
    """torch reads a flipped bit silently; the zip archive around the data has a checksum for every member."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError as error:
        raise ConfigError(f"checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # zipfile's, struct's and zlib's, depending on where the damage is
        raise ConfigError(f"{path} is not a checkpoint, or was cut short or damaged: {error}.") from error
    if damaged is not None:
        raise ConfigError(f"checkpoint {path} is damaged: the checksum of {damaged} does not match.")

"""Weights files: found by name, downloaded with a hash check, read without running any code in them."""

import hashlib
import http.client
import os
import urllib.request
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor

from visionkit.backbones.restricted_pickle import read_pickle
from visionkit.errors import ConfigError

NESTS = ("state_dict", "model")  # where training scripts put the tensors beside an optimizer's
AVERAGE = "average"  # where checkpoints of the kit have the averaged weights, if there are any
WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every key


def find_weights(source: str | Path) -> Path:
    """The file as given, else under the folder VISIONKIT_WEIGHTS. Raises ConfigError naming what was tried."""
    given = Path(source).expanduser()
    folder = os.environ.get("VISIONKIT_WEIGHTS")
    tried = [given] if given.is_absolute() or not folder else [given, Path(folder) / given]
    for path in tried:
        if path.is_file():
            return path
    raise ConfigError(f"no weights file at {' or '.join(map(str, tried))}")


def fetch_weights(url: str) -> Path:
    """A published file, `NAME-HASH.pth`: from VISIONKIT_WEIGHTS, from torch hub's cache, or downloaded into that cache.

    In VISIONKIT_WEIGHTS a file `NAME_imagenet.pth` stands in for it: ImageNet weights of another training.
    Downloading writes under a temporary name, checks the hash and renames, so that neither a broken connection nor
    several processes at once can leave a half file under the final name. Raises ConfigError when it fails.
    """
    name = PurePosixPath(urlsplit(url).path).name
    folder = os.environ.get("VISIONKIT_WEIGHTS")
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    network, _, expected = Path(name).stem.rpartition("-")
    own = [Path(folder) / name, Path(folder) / f"{network}_imagenet.pth"] if folder else []
    for path in (*own, cache / name):
        if path.is_file():
            return path
    partial = cache / f"{name}.{uuid.uuid4().hex}.part"
    digest = hashlib.sha256()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as target, urllib.request.urlopen(url, timeout=60) as response:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        if not digest.hexdigest().startswith(expected):
            raise ConfigError(f"the download of {url} is damaged: its SHA-256 does not begin with {expected}")
        os.replace(partial, cache / name)
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        raise ConfigError(f"cannot download {url} into {cache} ({error}); put it into VISIONKIT_WEIGHTS") from error
    finally:
        partial.unlink(missing_ok=True)
    return cache / name


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth, .pt, .th or .safetensors file by key, without nesting and wrappers' prefixes, on the CPU.

    Of a .pkl file its numpy arrays, read without running what it names (`restricted_pickle`).

    Raises ConfigError when the file is damaged or holds no tensors.
    """
    try:
        content = _read(path)
    except ConfigError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        first_line = (str(error).splitlines() or [""])[0]
        raise ConfigError(f"{path} is broken or not a weights file ({type(error).__name__}: {first_line})") from error
    if isinstance(content, Mapping) and _is_nest(content, AVERAGE):  # what the run that wrote it is about
        content = content[AVERAGE]["weights"]
    while isinstance(content, Mapping) and (nest := next((key for key in NESTS if _is_nest(content, key)), None)):
        content = content[nest]
    tensors = {}
    if isinstance(content, Mapping):
        content = {key: _as_tensor(value) for key, value in content.items()}
        tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"{path} holds no tensors")
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _is_nest(content: Mapping[Any, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _as_tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _read(path: Path) -> Any:
    if path.suffix == ".pkl":
        return read_pickle(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if zipfile.is_zipfile(path):  # torch reads a file with a flipped bit silently; the zip's checksums tell
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ConfigError(f"{path} is damaged (wrong checksum of its member {damaged})")
    return torch.load(path, map_location="cpu", weights_only=True)

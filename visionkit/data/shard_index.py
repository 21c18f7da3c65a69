"""The index of a folder of tar shards, made by one walk over each and kept beside them."""

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit.data.progress import Progress
from visionkit.data.ragged import to_offsets
from visionkit.data.tar_scan import Shard, scan_shard

INDEX = ".visionkit_index.npz"
_VERSION = 1  # of the file's layout
_FIELDS = ("offset", "length", "label")


@dataclass(frozen=True)
class _State:
    """What tells that a shard is still the one that was walked over."""

    size: int
    changed: int  # nanoseconds

    @staticmethod
    def of(path: Path) -> "_State":
        found = path.stat()
        return _State(found.st_size, found.st_mtime_ns)


_Known = dict[str, tuple[_State, Shard]]  # by file name


def index_shards(paths: Sequence[Path], names: tuple[str, ...]) -> tuple[list[Shard], list[str]]:
    """What each shard holds, in the given order, and sentences for a person.

    Only shards that the folder's index does not know, or that have another size or time since, are walked over. A
    folder that cannot be written has no index and is walked over each time. DataError: see `scan_shard`.
    """
    report: list[str] = []
    found: dict[Path, Shard] = {}
    for folder in dict.fromkeys(path.parent for path in paths):
        digest = hashlib.sha256("\0".join([str(_VERSION), *names]).encode()).hexdigest()
        known = _load(folder / INDEX, digest)
        here = [path for path in paths if path.parent == folder]
        states = {path: _State.of(path) for path in here}
        new = [path for path in here if path.name not in known or known[path.name][0] != states[path]]
        if new:
            with Progress(f"indexing {folder}", len(new), "shards") as progress:
                for path in new:
                    known[path.name] = (states[path], scan_shard(path, names))
                    progress.advance()
            try:
                _save(folder / INDEX, digest, {name: k for name, k in known.items() if (folder / name).exists()})
            except OSError as error:
                reason = error.strerror or error
                report.append(f"{folder}: the index cannot be kept there ({reason}) and is made anew each time.")
        found |= {path: known[path.name][1] for path in here}
    return [found[path] for path in paths], report


def _load(path: Path, digest: str) -> _Known:
    """Empty when there is none, when it is damaged, or made for other classes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
        if str(content["digest"]) != digest:
            return {}
        cuts = to_offsets(content["counts"])
        known: _Known = {}
        for k, name in enumerate(content["names"].tolist()):
            offset, length, label = (content[field][cuts[k] : cuts[k + 1]] for field in _FIELDS)
            shard = Shard(offset, length, label, int(content["others"][k]), str(content["other"][k]))
            known[name] = (_State(int(content["sizes"][k]), int(content["changed"][k])), shard)
        return known
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return {}


def _save(path: Path, digest: str, known: _Known) -> None:
    """Whole or not at all: another process may be reading it."""
    states, shards = [state for state, _ in known.values()], [shard for _, shard in known.values()]
    arrays = {
        "digest": np.array(digest),
        "names": np.array(list(known)),
        "sizes": np.array([state.size for state in states], np.int64),
        "changed": np.array([state.changed for state in states], np.int64),
        "counts": np.array([len(shard.label) for shard in shards], np.int64),
        "others": np.array([shard.others for shard in shards], np.int64),
        "other": np.array([shard.other for shard in shards]),
    }
    for field in _FIELDS:
        arrays[field] = np.concatenate([getattr(shard, field) for shard in shards])
    handle, part = tempfile.mkstemp(prefix=f"{INDEX}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its flags have names of their own
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise

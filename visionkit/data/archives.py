"""Unpacks zip and tar files that may come from anywhere: every member is judged before the first byte is written."""

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from visionkit.data.progress import Progress
from visionkit.errors import DataError

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def extract(archive: Path, folder: Path, strip: int = 0) -> None:
    """Unpacks a .zip or .tar (also compressed) into `folder`, beside what is there; `strip` leading path parts are
    left off. Files appear under `folder` only after the whole archive has been read.

    DataError naming the archive and the member: an absolute path, a path that leaves the folder, a link or a device
    (none is needed in a data set), a broken archive, too little disk space.
    """
    staging: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _members(archive) as members:
            targets = [(member, _target(member, archive, strip)) for member in members]
            needed, free = sum(member.size for member in members), shutil.disk_usage(folder).free
            if needed > free:
                raise DataError(
                    f"{archive}: unpacking needs {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free."
                )
            staging = Path(tempfile.mkdtemp(prefix=".extracting-", dir=folder))
            files = [(member, target) for member, target in targets if member.is_file and target is not None]
            with Progress(f"unpacking {archive.name}", len(files), "files") as progress:
                for member, target in files:
                    _copy(member, staging / target)
                    progress.advance()
        _merge(staging, folder)
    except _BROKEN as error:
        raise DataError(f"{archive}: broken archive: {error}.") from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked into {folder}: {error.strerror or error}.") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """What an archive holds. Links and special files are refused here, where their kind is known."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield [_zip_member(packed, info, archive) for info in packed.infolist()]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as packed_tar:
            yield [_tar_member(packed_tar, info, archive) for info in packed_tar.getmembers()]
    else:
        raise DataError(f"{archive}: neither a zip nor a tar file.")


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on a Unix
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{archive}: member '{info.filename}' is a link or a special file.")
    return _Member(info.filename, info.file_size, not info.is_dir(), lambda: packed.open(info))


def _tar_member(packed: tarfile.TarFile, info: tarfile.TarInfo, archive: Path) -> _Member:
    if not (info.isreg() or info.isdir()):
        raise DataError(f"{archive}: member '{info.name}' is a link or a special file.")
    return _Member(info.name, info.size if info.isreg() else 0, info.isreg(), lambda: packed.extractfile(info))


def _target(member: _Member, archive: Path, strip: int) -> PurePosixPath | None:
    """The member's path relative to the folder; None when nothing is left after stripping."""
    path = PurePosixPath(member.name)
    # A backslash or a colon means a path of its own on Windows, where "C:x" and "..\\x" leave the folder.
    if path.is_absolute() or ".." in path.parts or any(c in member.name for c in "\\:\0"):
        raise DataError(f"{archive}: member '{member.name}' would land outside the folder.")
    parts = path.parts[strip:]
    return PurePosixPath(*parts) if parts else None


def _copy(member: _Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise EOFError(f"member '{member.name}' has no content")
    with source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _merge(staging: Path, folder: Path) -> None:
    """Moves every file to its place by renaming; files of the same name are replaced."""
    for parent, _, names in os.walk(staging):
        place = folder / Path(parent).relative_to(staging)
        place.mkdir(exist_ok=True)
        for name in names:
            os.replace(Path(parent) / name, place / name)

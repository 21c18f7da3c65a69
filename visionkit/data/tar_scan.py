"""What a tar shard of the WebDataset layout holds: one walk over its headers."""

import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from visionkit.data.source_images import IMAGE_SUFFIXES
from visionkit.data.tar_pictures import BLOCK
from visionkit.errors import DataError

_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")  # KEY.EXTENSION: the extension begins at the name's first dot
_LONGEST = 2**31 - 1
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\3\4": "zip"}


@dataclass(frozen=True, eq=False)
class Shard:
    """The n pictures of one tar file, in their order."""

    offset: np.ndarray  # (n,) int64, the first byte
    length: np.ndarray  # (n,) int32, bytes
    label: np.ndarray  # (n,) int32
    others: int  # members that are neither picture nor class
    other: str  # one of them


def scan_shard(path: Path, names: tuple[str, ...]) -> Shard:
    """Finds every `KEY.jpg` (or another picture) and its class: `KEY.cls`, its number as text, or else `KEY.json`,
    where "label" is the number or the name.

    DataError naming the tar and the member: compressed, cut off or damaged; a picture without a class, a class
    without a picture, a key with two pictures, a class that is not in `names`.
    """
    positions = {name: k for k, name in enumerate(names)}
    pictures: dict[str, tuple[str, int, int]] = {}  # key -> name, offset, size
    classes: dict[str, tuple[str, int]] = {}  # key -> name, class
    others: list[str] = []
    with _opened(path) as file:
        for name, offset, size in _members(path, file):
            key, kind = _key_and_kind(name)
            if kind == "picture":
                if key in pictures:
                    raise DataError(f"{path}: members '{pictures[key][0]}' and '{name}' are two pictures of one key.")
                pictures[key] = (name, offset, size)
            elif kind == "cls" or (kind == "json" and key not in classes):
                content, member = os.pread(file.fileno(), size, offset), f"{path}: member '{name}'"
                label = (_class if kind == "cls" else _json_class)(content, positions, member)
                if label is not None:
                    classes[key] = (name, label)
            elif kind != "json":
                others.append(name)
    for key, (name, _, _) in pictures.items():
        if key not in classes:
            raise DataError(f"{path}: member '{name}' has no class: neither {key}.cls nor a label in {key}.json.")
    for key, (name, _) in classes.items():
        if key not in pictures:
            raise DataError(f"{path}: member '{name}' has no picture beside it.")
    places = np.array([place[1:] for place in pictures.values()], np.int64).reshape(-1, 2)  # (n, 2) offset, size
    labels = np.array([classes[key][1] for key in pictures], np.int32)
    return Shard(places[:, 0].copy(), places[:, 1].astype(np.int32), labels, len(others), others[0] if others else "")


def _key_and_kind(member: str) -> tuple[str, str]:
    """`dir/0017.JPG` -> `dir/0017`, "picture"; another kind is the extension. "": hidden, or no extension."""
    match = _MEMBER.fullmatch(member)
    if match is None:
        return "", ""
    kind = match[2].lower()
    return match[1], "picture" if f".{kind}" in IMAGE_SUFFIXES else kind


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def _members(path: Path, file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of every file of a tar that is whole."""
    head = os.pread(file.fileno(), BLOCK, 0)  # a tar begins with a name, which may look like anything
    kind = next((kind for start, kind in _PACKED.items() if head.startswith(start)), None)
    if kind and head[257:262] != b"ustar":
        raise DataError(
            f"{path} is compressed ({kind}), and pictures are read from plain tar files only: unpack it to one."
        )
    last = "its first member"
    try:
        with tarfile.open(fileobj=file, mode="r:") as packed:
            while (info := packed.next()) is not None:
                packed.members.clear()  # type: ignore[attr-defined]  # a large tar's would fill the memory
                last = f"the member '{info.name}'"
                if info.isreg():
                    if info.size > _LONGEST:
                        raise DataError(f"{path}: {last} has {info.size} bytes, which no picture has.")
                    yield info.name, info.offset_data, info.size
            end = packed.offset
    except tarfile.TarError as error:
        raise DataError(f"{path} is no whole tar file: {error}, at {last}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    # tarfile takes a damaged or missing header for the end; the true end is a block of zeros.
    if os.pread(file.fileno(), BLOCK, end) != bytes(BLOCK):
        raise DataError(f"{path} is no whole tar file: it is cut off or damaged after {last}.")


def _class(content: bytes, positions: Mapping[str, int], member: str) -> int:
    text = content.decode("utf-8", "replace").strip()
    if not text.isdecimal():
        raise DataError(f"{member} holds '{text[:40]}', not the number of a class.")
    return _in_list(int(text), positions, member)


def _json_class(content: bytes, positions: Mapping[str, int], member: str) -> int | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise DataError(f"{member} is not valid JSON.") from None
    label = found.get("label") if isinstance(found, dict) else None
    if label is None:  # a description that says nothing of the class
        return None
    if isinstance(label, int) and not isinstance(label, bool):
        return _in_list(label, positions, member)
    if isinstance(label, str) and label in positions:
        return positions[label]
    raise DataError(f"{member}: the label {label!r} is none of the {len(positions)} classes.")


def _in_list(label: int, positions: Mapping[str, int], member: str) -> int:
    if not 0 <= label < len(positions):
        raise DataError(f"{member}: the class {label} is outside the list of {len(positions)} classes.")
    return label

"""Region proposals of a data set: found once by a search, stored in one file, read back from then on.

Under `datasets/proposals` of the clone lies one `METHOD-SETTINGS-PICTURES.npz` for each split, the middle and the last
part being digests. While one is being made, finished parts lie in a folder beside it, so that an interrupted search
goes on where it was.
"""

import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from visionkit.data.image import decode_image, read_bytes
from visionkit.data.index import DetectionIndex
from visionkit.data.progress import Progress
from visionkit.data.proposal_file import made_folder, read_proposals, write_proposals
from visionkit.data.proposal_match import file_digests, proposals_of
from visionkit.data.proposal_set import (
    ProposalSet,
    Search,
    check_search,
    file_digest,
    join_proposals,
    pack_proposals,
    settings_digest,
    short_name,
)
from visionkit.data.workers import run_workers
from visionkit.errors import DataError

__all__ = [
    "ProposalSet",
    "Search",
    "default_folder",
    "find_proposals",
    "proposals_of",
    "proposals_path",
    "read_proposals",
    "write_proposals",
]

PART_SECONDS = 60.0  # after which finished pictures are written to disk


def default_folder() -> Path:
    """`datasets/proposals` of the clone that this file lies in; of the current folder when the package is installed.

    Never under VISIONKIT_DATASETS, which may be read-only.
    """
    clone = Path(__file__).resolve().parents[2]
    return (clone if (clone / "pyproject.toml").is_file() else Path.cwd()) / "datasets" / "proposals"


def proposals_path(index: DetectionIndex, search: Search, folder: Path | None = None) -> Path:
    """Where `find_proposals` keeps the proposals of these pictures by this search."""
    pictures = hashlib.blake2b(index.sizes.astype(np.int32).tobytes(), digest_size=4)
    for i in range(len(index)):
        pictures.update(short_name(index.path(i)).encode() + b"\0")
    name = f"{search.method}-{settings_digest(search.method, search.settings())}-{pictures.hexdigest()}.npz"
    return (default_folder() if folder is None else Path(folder)) / name


def find_proposals(
    index: DetectionIndex, search: Search, workers: int = 0, folder: str | os.PathLike[str] | None = None
) -> ProposalSet:
    """The proposals of every picture of an index, in its order: read from the folder, or found and stored there.

    Only pictures that are new or have changed are searched. Nothing depends on `workers` but the time.

    Args:
        index: the pictures.
        search: finds the boxes of one picture; a picklable object.
        workers: processes that search; 0 = this one.
        folder: where the file is kept; None = `default_folder()`.

    Raises:
        DataError: a picture cannot be read, the folder cannot be written, or the file in it is broken.
    """
    path = proposals_path(index, search, None if folder is None else Path(folder))
    parts = path.with_suffix(".parts")
    stored = [read_proposals(path)] if path.exists() else []
    stored += [read_proposals(part) for part in sorted(parts.glob("*.npz"))]
    for one in stored:
        check_search(one, search)
    known = {digest for one in stored for digest in one.digests.tolist()}
    digests = list(file_digests(index))
    first = {digest: i for i, digest in reversed(list(enumerate(digests)))}  # copies of a picture are searched once
    missing = [i for i, digest in enumerate(digests) if first[digest] == i and digest not in known]
    if missing or not path.exists():
        stored += _search(index, search, workers, missing, parts)
        every = [one for one in stored if len(one)] or stored
        if every:
            write_proposals(path, replace(_of_index(join_proposals(every), digests), source=str(path)))
        else:
            write_proposals(path, pack_proposals(search.method, search.settings(), [], [], [], []))
        shutil.rmtree(parts, ignore_errors=True)
        stored = [read_proposals(path)]
    return proposals_of(index, stored, search, digests=digests)


def _of_index(every: ProposalSet, digests: list[int]) -> ProposalSet:
    """One row for each different picture, in the order of the index; what it does not have any more is left out."""
    row = {digest: i for i, digest in enumerate(every.digests.tolist())}
    return every.select([row[digest] for digest in dict.fromkeys(digests)])


def _search(index: DetectionIndex, search: Search, workers: int, missing: list[int], parts: Path) -> list[ProposalSet]:
    """Searches the pictures at these positions and keeps what is finished under `parts` every minute."""
    found: list[ProposalSet] = []
    pending: list[_Found] = []
    read = _Searcher(search, index)

    def keep(write: bool) -> None:
        if pending:
            one = _packed(search, pending)
            found.append(one)
            if write:
                number = len(list(parts.glob("*.npz")))
                write_proposals(parts / f"{number:05d}-{os.getpid()}.npz", one)
            pending.clear()

    if not missing:
        return found
    made_folder(parts)  # before the work, not after it
    advice = getattr(search, "advice", lambda: None)()
    if advice:
        print(advice, file=sys.stderr, flush=True)
    search(np.zeros((16, 16, 3), np.uint8))  # what is compiled on the first call is compiled before processes part
    written = time.monotonic()
    with Progress(f"{search.method}, proposals", len(missing), "pictures") as progress:
        try:
            for result in run_workers(read, missing, workers):
                pending.append(result)
                progress.advance()
                if time.monotonic() - written > PART_SECONDS:
                    keep(write=True)
                    written = time.monotonic()
        except BaseException:
            keep(write=True)
            raise
    keep(write=False)
    return found


@dataclass(frozen=True)
class _Found:
    name: str
    digest: int
    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    seconds: float


class _Searcher:
    """Reads and searches one picture; lives in a worker."""

    def __init__(self, search: Search, index: DetectionIndex) -> None:
        self.search, self.index = search, index
        self.warm = False

    def __call__(self, i: int) -> _Found:
        path = self.index.path(i)
        data = read_bytes(path)
        image = decode_image(data, path)
        size = (image.shape[0], image.shape[1])
        if size != self.index.size(i):
            stated = self.index.size(i)
            raise DataError(f"image {path} has {size[0]} x {size[1]} pixels, and {stated[0]} x {stated[1]} are stated.")
        if not self.warm:  # loading what was compiled is no picture's time
            self.search(image[:16, :16])
            self.warm = True
        start = time.perf_counter()
        boxes, scores = self.search(image)
        return _Found(short_name(path), file_digest(data), size, boxes, scores, time.perf_counter() - start)


def _packed(search: Search, found: list[_Found]) -> ProposalSet:
    return pack_proposals(
        search.method,
        search.settings(),
        [one.name for one in found],
        [one.digest for one in found],
        [one.size for one in found],
        [(one.boxes, one.scores) for one in found],
        sum(one.seconds for one in found),
    )

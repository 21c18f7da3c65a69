"""From stored proposals to those of a data set's pictures, in its order. A picture is known by its bytes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from visionkit.data.image import read_bytes
from visionkit.data.index import DetectionIndex
from visionkit.data.proposal_set import ProposalSet, Search, check_search, file_digest, join_proposals, short_name
from visionkit.errors import DataError

_ROUNDING = 1.0  # pixels that a box of other people's files may reach outside by counting pixels otherwise
_READERS = 4  # threads: reading waits for the disk, and hashing leaves Python's lock


def proposals_of(
    index: DetectionIndex,
    sets: Sequence[ProposalSet],
    search: Search | None = None,
    report: list[str] | None = None,
    digests: Sequence[int] | None = None,
) -> ProposalSet:
    """The proposals of every picture of an index, in its order.

    Args:
        index: the pictures.
        sets: where to look, the first that has the picture wins; pictures that the index has not are left out.
        search: the search that the proposals have to come from (method and settings), None = any.
        report: gets a sentence for what was changed: boxes that reach outside by at most a pixel are clipped.
        digests: of the pictures' files; None = every file is read for it.

    Raises:
        DataError: names the file, the picture and the reason: no proposals of a picture, a picture that has changed
            since, another size, boxes that are not finite, without extent or outside of the picture, or proposals of
            another method or other settings.
    """
    if not sets:
        raise DataError(f"{index.source}: no proposals are given.")
    for one in sets:
        check_search(one, search)
        same = (one.method, one.settings) == (sets[0].method, sets[0].settings)
        if not same:
            raise DataError(f"{one.source}: holds proposals of other settings than {sets[0].source}; take one or both.")
    # The files are joined as they stand, and pictures are looked up among all of them.
    owner = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    every = join_proposals(sets)
    rows = np.empty(len(index), np.int64)
    known = {digest: row for row, digest in reversed(list(enumerate(every.digests.tolist())))}
    for i, digest in enumerate(file_digests(index) if digests is None else digests):
        row = known.get(digest)
        if row is None:
            raise _missing(index, i, sets)
        if every.size(row) != index.size(i):
            stored = every.size(row)
            raise DataError(
                f"{sets[owner[row]].source}: the proposals of {short_name(index.path(i))} are for {stored[0]} x "
                f"{stored[1]} pixels, and the picture has {index.size(i)[0]} x {index.size(i)[1]}."
            )
        rows[i] = row
    found = every.select(rows)
    sources = [sets[owner[row]].source for row in rows]
    return _checked(replace(found, source=" + ".join(dict.fromkeys(sources)) or sets[0].source), sources, report)


def file_digests(index: DetectionIndex) -> Iterator[int]:
    """The digest of every picture's file, in order. DataError for one that cannot be read."""
    paths = (index.path(i) for i in range(len(index)))
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(lambda path: file_digest(read_bytes(path)), paths)


def _missing(index: DetectionIndex, i: int, sets: Sequence[ProposalSet]) -> DataError:
    name = short_name(index.path(i))
    for one in sets:
        if any(one.names[row] == name.encode() for row in range(len(one))):
            return DataError(
                f"{one.source}: the picture {index.path(i)} has changed since its proposals were made; make them again."
            )
    files = " and ".join(dict.fromkeys(one.source for one in sets))
    return DataError(f"{files}: no proposals of the picture {index.path(i)}.")


def _checked(found: ProposalSet, sources: Sequence[str], report: list[str] | None) -> ProposalSet:
    """Clips what reaches outside by a pixel at most; DataError for other faults."""
    rows = np.repeat(np.arange(len(found)), np.diff(found.offsets))  # (M,)
    limit = found.sizes[rows][:, [1, 0, 1, 0]].astype(np.float32)  # (M, 4)
    boxes = found.boxes
    clipped = np.clip(boxes, 0, limit)

    def refuse(bad: Any, problem: str) -> None:
        if bad.any():
            m = int(bad.argmax())
            i, box = int(rows[m]), " ".join(f"{v:g}" for v in boxes[m])
            height, width = found.size(i)
            raise DataError(
                f"{sources[i]}: picture {found.name(i)} ({height} x {width}): proposal "
                f"{m - int(found.offsets[i]) + 1}, {box}, {problem}."
            )

    refuse(~np.isfinite(boxes).all(axis=1), "is not finite")
    refuse(~np.isfinite(found.scores), "has a score that is not finite")
    refuse((boxes[:, 2:] <= boxes[:, :2]).any(axis=1), "has no extent")
    refuse((clipped[:, 2:] <= clipped[:, :2]).any(axis=1), "lies outside of the picture")
    refuse((np.abs(clipped - boxes) > _ROUNDING).any(axis=1), "reaches outside of the picture by more than a pixel")
    changed = (clipped != boxes).any(axis=1)
    if not changed.any():
        return found
    if report is not None:
        first = found.name(int(rows[int(changed.argmax())]))
        report.append(
            f"{found.source}: {int(changed.sum())} proposals reach outside by a pixel at most and are clipped, first "
            f"in {first}."
        )
    return replace(found, boxes=clipped)

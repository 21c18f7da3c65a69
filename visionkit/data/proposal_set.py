"""Region proposals of a set of pictures, packed in a few arrays."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from visionkit.data.ragged import Blobs, select_rows, to_offsets
from visionkit.errors import DataError


class Search(Protocol):
    """A way to find regions that needs no network, such as `visionkit.ops.selective_search.SelectiveSearch`."""

    @property
    def method(self) -> str: ...
    def settings(self) -> dict[str, Any]: ...
    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class ProposalSet:
    """N pictures and M boxes in all. The boxes of each picture are best first; a picture may have none."""

    method: str  # "selective_search", "windows", "edge_boxes", "rpn" ...
    settings: dict[str, Any]  # plain values: the other half of what the boxes depend on
    names: Blobs  # N, see `short_name`
    digests: np.ndarray  # (N,) uint64, see `file_digest`
    sizes: np.ndarray  # (N, 2) int32, height and width of the upright picture
    offsets: np.ndarray  # (N + 1,) int64: the boxes of picture i are offsets[i] ... offsets[i + 1]
    boxes: np.ndarray  # (M, 4) float32, x1 y1 x2 y2 in pixels of the upright picture
    scores: np.ndarray  # (M,) float32, falling within a picture
    seconds: float = 0.0  # the search took in all, added up over processes; 0 = not known
    source: str = field(default="proposals", compare=False)  # the file, for messages

    def __post_init__(self) -> None:
        count, total = len(self.digests), len(self.scores)
        if self.boxes.shape != (total, 4) or self.offsets.shape != (count + 1,) or self.offsets[-1] != total:
            raise ValueError("ProposalSet: boxes, scores and offsets do not belong together")
        if self.sizes.shape != (count, 2) or len(self.names) != count or (np.diff(self.offsets) < 0).any():
            raise ValueError("ProposalSet: one name, digest, size and row of boxes for each picture")

    def __len__(self) -> int:
        return len(self.digests)

    def name(self, i: int) -> str:
        return self.names[i].decode()

    def size(self, i: int) -> tuple[int, int]:
        """(height, width)."""
        return int(self.sizes[i, 0]), int(self.sizes[i, 1])

    def proposed(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (P, 4) float32 and scores (P,) float32 of picture i, best first; P may be 0."""
        part = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return self.boxes[part], self.scores[part]

    def boxes_an_image(self) -> float:
        return float(np.diff(self.offsets).mean()) if len(self) else 0.0

    def seconds_an_image(self) -> float | None:
        """None where the time is not known (imported files)."""
        return self.seconds / len(self) if self.seconds > 0 and len(self) else None

    def select(self, rows: Sequence[int] | np.ndarray) -> "ProposalSet":
        """The pictures at these positions, in this order, with their share of the time."""
        rows = np.asarray(rows, np.int64).reshape(-1)
        flat, offsets = select_rows(self.offsets, rows)
        return replace(
            self,
            names=self.names.select(rows),
            digests=self.digests[rows],
            sizes=self.sizes[rows],
            offsets=offsets,
            boxes=self.boxes[flat],
            scores=self.scores[flat],
            seconds=self.seconds * len(rows) / max(1, len(self)),
        )

    def best(self, count: int) -> "ProposalSet":
        """At most the first `count` boxes of each picture."""
        flat = np.arange(len(self.scores)) - np.repeat(self.offsets[:-1], np.diff(self.offsets)) < count
        offsets = to_offsets(np.minimum(np.diff(self.offsets), count))
        return replace(self, offsets=offsets, boxes=self.boxes[flat], scores=self.scores[flat])


def pack_proposals(
    method: str,
    settings: Mapping[str, Any],
    names: Sequence[str],
    digests: Sequence[int] | np.ndarray,
    sizes: Sequence[tuple[int, int]] | np.ndarray,
    proposed: Sequence[tuple[np.ndarray, np.ndarray]],
    seconds: float = 0.0,
    source: str = "proposals",
) -> ProposalSet:
    """A set of N pictures from one (boxes (P, 4), scores (P,)) pair for each."""
    boxes = [np.asarray(pair[0], np.float32).reshape(-1, 4) for pair in proposed]
    scores = [np.asarray(pair[1], np.float32).reshape(-1) for pair in proposed]
    return ProposalSet(
        method=method,
        settings=plain(settings),
        names=Blobs.pack([name.encode() for name in names]),
        digests=np.asarray(digests, np.uint64).reshape(-1),
        sizes=np.asarray(sizes, np.int32).reshape(-1, 2),
        offsets=to_offsets(np.array([len(s) for s in scores], np.int64)),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        scores=np.concatenate([np.zeros(0, np.float32), *scores]),
        seconds=seconds,
        source=source,
    )


def join_proposals(sets: Sequence[ProposalSet]) -> ProposalSet:
    """One set after the other; they share method and settings (the first's are taken)."""
    return replace(
        sets[0],
        names=Blobs.join([one.names for one in sets]),
        digests=np.concatenate([one.digests for one in sets]),
        sizes=np.concatenate([one.sizes for one in sets]),
        offsets=to_offsets(np.concatenate([np.diff(one.offsets) for one in sets])),
        boxes=np.concatenate([one.boxes for one in sets]),
        scores=np.concatenate([one.scores for one in sets]),
        seconds=sum(one.seconds for one in sets),
    )


def short_name(path: str | os.PathLike[str]) -> str:
    """What a picture is called in a set: the last two parts of its path, so that the data may lie anywhere."""
    return "/".join(Path(path).parts[-2:])


def file_digest(data: bytes) -> int:
    """64 bits of BLAKE2b of a file's bytes: by these, not by its name, a picture is known again."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def plain(settings: Any) -> Any:
    """Settings as they come back from a file: lists for tuples, Python's numbers. TypeError for what JSON has not."""
    return json.loads(json.dumps(settings, allow_nan=False))


def settings_digest(method: str, settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that other settings do not have."""
    text = json.dumps([method, plain(settings)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def check_search(proposals: ProposalSet, search: Search | None) -> None:
    """DataError naming the first difference when a set was not made by this search."""
    if search is None:
        return
    if proposals.method != search.method:
        raise DataError(f"{proposals.source}: was made by {proposals.method}, and {search.method} is asked for.")
    wanted = plain(search.settings())
    for key in sorted(wanted.keys() | proposals.settings.keys()):
        own, asked = (s.get(key, "(not set)") for s in (proposals.settings, wanted))
        if own != asked:
            raise DataError(
                f"{proposals.source}: was made by {proposals.method} with {key}={own}, and {key}={asked} is asked for."
            )

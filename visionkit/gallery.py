"""The feature vectors of a folder of pictures, in one file that is used again as long as model and pictures are these.

The vector of a picture is what the network's own head would classify (AlexNet's fc7), of the picture as it is tested.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from visionkit.data.collate import pad_images
from visionkit.data.image import decode_image, read_bytes
from visionkit.data.progress import Progress
from visionkit.data.source_images import list_images
from visionkit.data.workers import run_workers
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.models.classifier import Classifier
from visionkit.ops.center_crop import CenterCrop

FIELDS = ("names", "sizes", "digests", "features", "model", "fingerprint")


class Entry(NamedTuple):
    """One picture of a gallery."""

    name: str  # the path below the gallery's folder
    size: int  # bytes of the file
    digest: str  # of the file's content
    vector: np.ndarray  # (D,) float32


@dataclass(frozen=True)
class Network:
    """What the vectors come from."""

    model: Classifier
    text: str  # what a person calls it: network and weights
    fingerprint: str  # of everything that a vector depends on: weights, normalisation and size


def network(model: Any, name: str, weights: str) -> Network:
    """A classifier with the name of its backbone and where its weights come from. ConfigError for other models."""
    if not isinstance(model, Classifier):
        raise ConfigError(f"{weights} is a {type(model).__name__}: the vectors compared here are a classifier's.")
    digest = hashlib.blake2b(repr(model.resize).encode(), digest_size=16)
    for part in (model.backbone, model.normalize):
        for key, value in part.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return Network(model, f"{name} of {weights}", digest.hexdigest())


def gallery_vectors(
    folder: Path, file: Path, of: Network, batch_size: int = 64, workers: int = 0
) -> tuple[list[Entry], str]:
    """The vectors of all pictures below a folder, from `file` where it has them; `file` holds them afterwards.

    What was computed is kept also when a picture cannot be read or the run is interrupted.

    Returns: an entry for each picture, sorted by path, and a sentence on how many were computed.
    Raises:
        DataError: no pictures, one that cannot be read, or a broken file of vectors.
        ConfigError: the file holds vectors of another model.
    """
    paths = list_images(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    before = read_vectors(file, of) if file.exists() else []
    known = {entry.digest: entry.vector for entry in before}
    entries: list[Entry] = []
    computed = 0
    try:
        with Progress(f"vectors of {folder.name}", len(paths), "pictures") as progress:
            for name, found in zip(names, vectors(paths, of, known, batch_size, workers), strict=True):
                entries.append(Entry(name, *found))
                computed += found[1] not in known
                progress.advance()
    finally:
        if computed or len(entries) != len(before):
            done = {entry.name for entry in entries}
            whole = len(entries) == len(paths)
            write_vectors(file, of, entries + [e for e in before if not whole and e.name not in done])
    gone = len({entry.name for entry in before} - set(names))
    sentence = f"{len(entries)} pictures: {computed} vectors computed, {len(entries) - computed} taken from {file}"
    return entries, sentence + (f", {gone} pictures are no longer there" if gone else "")


def vectors(
    paths: Sequence[Path], of: Network, known: Mapping[str, np.ndarray], batch_size: int = 64, workers: int = 0
) -> Iterator[tuple[int, str, np.ndarray]]:
    """Size in bytes, digest and vector (D,) float32 of each file, in order; `known` has vectors by digest."""
    model, device = of.model, next(of.model.parameters()).device
    model.eval()
    parts = [paths[k : k + batch_size] for k in range(0, len(paths), batch_size)]
    read = _Reader(frozenset(known), model.resize)
    for part, files in zip(parts, run_workers(read, parts, workers), strict=True):
        new = [i for i, (_, _, image) in enumerate(files) if image is not None]
        rows: dict[int, np.ndarray] = {}
        if new:
            side = (model.resize.size, model.resize.size)
            images = [image for _, _, image in files if image is not None]
            batch = pad_images(images, [0] * len(new), [0] * len(new), side).to(device)
            with torch.inference_mode():
                found = model.features(batch).float().cpu().numpy()  # (B, D)
            rows = dict(zip(new, found, strict=True))
        for i, (size, digest, _) in enumerate(files):
            vector = rows[i] if i in rows else known[digest]
            if not np.isfinite(vector).all():
                raise NonFiniteLossError(f"the network's vector of {part[i]} has numbers that are not finite.")
            yield size, digest, vector


@dataclass(frozen=True)
class _Reader:
    """Files to (bytes, digest, picture at network size), the last None where the vector is known."""

    known: frozenset[str]
    resize: CenterCrop

    def __call__(self, paths: Sequence[Path]) -> list[tuple[int, str, np.ndarray | None]]:
        return [self._one(path) for path in paths]

    def _one(self, path: Path) -> tuple[int, str, np.ndarray | None]:
        data = read_bytes(path)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        return len(data), digest, None if digest in self.known else self.resize(decode_image(data, str(path)))


def read_vectors(file: Path, of: Network) -> list[Entry]:
    """The entries of a file of vectors. ConfigError when they are another model's, DataError when it is broken."""
    try:
        with np.load(file, allow_pickle=False) as found:
            names, sizes, digests, features, model, fingerprint = (found[field] for field in FIELDS)
    except Exception as error:  # zipfile, zlib, numpy and OSError each have their own
        raise DataError(
            f"{file} cannot be read as a file of vectors ({error}): delete it, or choose another."
        ) from None
    if str(fingerprint) != of.fingerprint:
        raise ConfigError(
            f"features={file} holds vectors of another model ({model}), and this is {of.text}: "
            "choose another file with features=..., or delete it."
        )
    rows = zip(names.tolist(), sizes.tolist(), digests.tolist(), features, strict=True)
    return [Entry(*row) for row in rows]


def write_vectors(file: Path, of: Network, entries: Sequence[Entry]) -> None:
    """Under a temporary name first: a run that is killed leaves the old file or the new one."""
    columns = {
        "names": np.array([e.name for e in entries], np.str_),
        "sizes": np.array([e.size for e in entries], np.int64),
        "digests": np.array([e.digest for e in entries], np.str_),
        "features": np.array([e.vector for e in entries], np.float32).reshape(len(entries), -1),  # (N, D)
        "model": np.array(of.text),
        "fingerprint": np.array(of.fingerprint),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as target:
            np.savez(target, **columns)  # type: ignore[arg-type]  # its stub takes the arrays for `allow_pickle`
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)

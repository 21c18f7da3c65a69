"""The probabilities that a model gave to every picture, in a file: what ensembles are made of."""

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit.errors import DataError

PROBABILITIES = "probabilities.npz"


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Of one model on one split."""

    model: str  # what it is called in tables
    names: tuple[str, ...]  # K classes
    files: tuple[str, ...]  # N pictures, as messages call them
    ids: np.ndarray  # (N,) int64
    labels: np.ndarray  # (N,) int64, the true classes
    values: np.ndarray  # (N, K) float32, rows sum to 1


def write_probabilities(path: Path, found: Probabilities) -> None:
    """Writes atomically, as a .npz that `read_probabilities` and numpy read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    arrays = {
        "model": np.array(found.model),
        "names": np.array(found.names, np.str_),
        "files": np.array(found.files, np.str_),
        "ids": found.ids.astype(np.int64),
        "labels": found.labels.astype(np.int64),
        "probabilities": found.values.astype(np.float32),
    }
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy takes any names
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_probabilities(path: Path) -> Probabilities:
    """DataError that names the file when it is missing, broken, or holds anything but probabilities of pictures."""
    try:
        with np.load(path, allow_pickle=False) as content:
            model, names, files = content["model"], content["names"], content["files"]
            ids, labels, values = content["ids"], content["labels"], content["probabilities"]
    except KeyError as error:
        raise DataError(f"{path}: is no file of probabilities: {error.args[0]}.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: is broken or no file of probabilities ({error}).") from None
    count = len(files) if files.ndim == 1 else -1
    kinds = (model.dtype.kind, names.dtype.kind, files.dtype.kind, ids.dtype.kind, labels.dtype.kind, values.dtype.kind)
    fits = names.ndim == 1 and values.shape == (count, len(names)) and ids.shape == labels.shape == (count,)
    if not fits or kinds != ("U", "U", "U", "i", "i", "f"):
        raise DataError(
            f"{path}: its arrays do not fit together; write it with probabilities=true of tools/evaluate.py."
        )
    if not np.isfinite(values).all() or (values < 0).any() or (np.abs(values.sum(axis=1) - 1) > 1e-3).any():
        raise DataError(f"{path}: rows of its probabilities are not probabilities: each has to sum to 1.")
    if count and not 0 <= labels.min() <= labels.max() < len(names):
        raise DataError(f"{path}: a label is outside of its {len(names)} classes.")
    return Probabilities(str(model), tuple(names.tolist()), tuple(files.tolist()), ids, labels, values)

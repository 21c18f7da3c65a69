"""The one file that holds a set of proposals: a compressed .npz, written atomically, read without pickle."""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.proposal_set import ProposalSet
from visionkit.data.ragged import Blobs
from visionkit.errors import DataError

FORMAT = 1  # of the file
_COMPACT = 65535  # boxes of whole pixels up to this are stored in half the room
_FIELDS = ("about", "names", "name_offsets", "digests", "sizes", "offsets", "boxes", "scores")


def write_proposals(path: str | os.PathLike[str], proposals: ProposalSet) -> None:
    """Writes one compressed .npz atomically. DataError when the folder cannot be written."""
    path = Path(path)
    boxes = proposals.boxes
    whole = boxes.size == 0 or bool(((boxes >= 0) & (boxes <= _COMPACT) & (boxes == np.floor(boxes))).all())
    about = {
        "format": FORMAT,
        "method": proposals.method,
        "settings": proposals.settings,
        "seconds": proposals.seconds,
    }
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "names": proposals.names.data,
        "name_offsets": proposals.names.offsets,
        "digests": proposals.digests,
        "sizes": proposals.sizes,
        "offsets": proposals.offsets,
        "boxes": boxes.astype(np.uint16) if whole else boxes,
        "scores": proposals.scores,
    }
    made_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"proposals: cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def made_folder(folder: Path) -> Path:
    """The folder, made where it is not there. DataError when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"proposals: cannot write to {folder}: {error.strerror}.") from error
    return folder


def read_proposals(path: str | os.PathLike[str]) -> ProposalSet:
    """A file of `write_proposals`. DataError in one sentence when it is missing, broken or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in _FIELDS}
        about = json.loads(found["about"].tobytes())
        if about["format"] != FORMAT:
            raise DataError(f"{path}: is a proposal file of format {about['format']}, and this program reads {FORMAT}.")
        return ProposalSet(
            method=str(about["method"]),
            settings=dict(about["settings"]),
            names=Blobs(found["names"].astype(np.uint8), found["name_offsets"].astype(np.int64)),
            digests=found["digests"].astype(np.uint64),
            sizes=found["sizes"].astype(np.int32),
            offsets=found["offsets"].astype(np.int64),
            boxes=found["boxes"].astype(np.float32).reshape(-1, 4),
            scores=found["scores"].astype(np.float32),
            seconds=float(about["seconds"]),
            source=str(path),
        )
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such proposal file.") from None
    except KeyError as error:
        raise DataError(
            f"{path}: is no proposal file of VisionKit, it has no {error}; files of others are read by "
            "tools/propose.py import=FILE format=..."
        ) from None
    except (OSError, ValueError, EOFError, TypeError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: is no proposal file, or a broken one ({str(error).rstrip('.')}).") from None

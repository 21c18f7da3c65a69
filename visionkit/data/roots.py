"""Where data sets lie: as given, else under $VISIONKIT_DATASETS, else under the repository's `datasets/`."""

import os
from pathlib import Path

from visionkit.errors import DataError

_REPOSITORY = Path(__file__).resolve().parents[2]


def resolve_root(path: str | os.PathLike[str]) -> Path:
    """The first of the three places where `path` exists. DataError names every place that was tried."""
    given = Path(path).expanduser()
    tried = [given]
    if not given.is_absolute():
        shared = os.environ.get("VISIONKIT_DATASETS")
        tried += [Path(shared).expanduser() / given] if shared else []
        tried.append(_REPOSITORY / "datasets" / given)
    for place in tried:
        if place.exists():
            return place
    places = ", ".join(str(place) for place in tried)
    raise DataError(f"data root '{path}' does not exist; tried {places} (set data.root or VISIONKIT_DATASETS).")

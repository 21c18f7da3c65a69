"""Validation pictures for a data set that comes without: a share of each class, drawn by chance."""

import numpy as np

from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.errors import ConfigError, DataError
from visionkit.ops.hashing import mix


def hold_out(index: LabelledIndex, fraction: float, seed: int) -> LabelledData:
    """Two splits of one index: `fraction` of each class, at least one picture and never all, is for validation.

    Which pictures these are follows from (seed, position). DataError: a class with a single picture.
    """
    check_fraction(fraction)
    chosen = np.zeros(len(index), np.bool_)
    for label, count in enumerate(index.class_counts()):
        if count == 0:  # named in a list of classes, and without a picture
            continue
        rows = np.flatnonzero(index.labels == label)
        if count < 2:
            raise DataError(f"{index.source}: the class {index.names[label]!r} has one picture alone, and two splits.")
        chosen[drawn(rows, fraction, seed)] = True
    return join_labelled(index.select(np.flatnonzero(~chosen)), index.select(np.flatnonzero(chosen)))


def drawn(rows: np.ndarray, fraction: float, seed: int) -> list[int]:
    """A share of the rows (N,), at least one and never all; which ones follows from (seed, row)."""
    order = sorted(rows.tolist(), key=lambda i: mix(seed, i))
    return order[: min(len(rows) - 1, max(1, round(fraction * len(rows))))]


def check_fraction(fraction: float) -> None:
    """ConfigError unless a share of the pictures is meant."""
    if not 0 < fraction < 1:
        raise ConfigError(f"data.val_fraction={fraction}: a number between 0 and 1 is wanted.")

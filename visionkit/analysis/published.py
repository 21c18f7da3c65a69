"""Published accuracies of the line's networks: torchvision's, read from the table beside this file."""

import csv
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("published.csv")


class Published(NamedTuple):
    """A network's figures with its published weights."""

    name: str
    top1: float  # per cent
    top5: float
    parameters: int
    multiply_adds_g: float  # billions, for one image of side `crop`
    crop: int


@lru_cache
def published() -> dict[str, Published]:
    """By name, in the order of the table."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    kinds = Published.__annotations__
    rows = [Published(**{key: kinds[key](row[key]) for key in kinds}) for row in csv.DictReader(lines)]
    return {row.name: row for row in rows}

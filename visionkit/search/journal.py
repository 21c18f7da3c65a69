"""search.jsonl: one line for each sample and each training of the comparison. Read again, nothing is trained twice."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visionkit.errors import ConfigError
from visionkit.search.cell_space import Cell
from visionkit.search.search import Trial

_COMPARISON = "comparison"  # stands where a trial's method stands

Record = dict[str, Any]


class Journal:
    """What a search has done, on disk and in memory.

    An interrupted search starts again from its first sample: the controller draws the same cells, their rewards come
    from here, and so it arrives where it was. A half-written last line is dropped.

    Attributes:
        trained: how many networks this process has trained.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.trained = path, 0
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        records = [record for record in map(_parsed, lines) if record is not None]
        if len(records) < len(lines):
            path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        self._lines: dict[tuple[Any, ...], Record] = {}
        self._results: dict[tuple[Any, ...], float] = {}
        for record in records:
            self._remember(record)

    def reward(self, seed: int, cell: Cell, train: Callable[[], float]) -> float:
        """A cell's reward in this seed's searches: the remembered one, else `train()`. Both methods train alike."""
        return self._result(("search", seed, json.dumps(cell)), train)

    def accuracy(self, seed: int, cell: Cell, train: Callable[[], float]) -> float:
        """A cell's accuracy in this seed's comparison: the remembered one, else `train()`."""
        return self._result((_COMPARISON, seed, json.dumps(cell)), train)

    def write_trial(self, method: str, seed: int, trial: Trial) -> None:
        """Appends a sample, unless it is there. ConfigError when another one is there in its place."""
        self._write({"method": method, "seed": seed, **asdict(trial)})

    def write_final(self, group: str, seed: int, cell: Cell, accuracy: float) -> None:
        """Appends a training of the comparison, unless it is there."""
        self._write({"method": _COMPARISON, "seed": seed, "group": group, "cell": cell, "accuracy": accuracy})

    def _result(self, key: tuple[Any, ...], train: Callable[[], float]) -> float:
        if key not in self._results:
            self._results[key] = train()
            self.trained += 1
        return self._results[key]

    def _remember(self, record: Record) -> None:
        cell, final = json.dumps(record["cell"]), record["method"] == _COMPARISON
        self._lines[_place(record)] = record
        kind, name = (_COMPARISON, "accuracy") if final else ("search", "reward")
        self._results[kind, record["seed"], cell] = record[name]

    def _write(self, record: Record) -> None:
        known = self._lines.get(_place(record))
        if known is None:
            self._remember(record)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        elif known != record:
            raise ConfigError(
                f"{self.path}: sample {record['step']} of {record['method']}, seed {record['seed']}, is another one "
                "than this search draws (another version of torch?): choose another output, or remove the folder."
            )


def _parsed(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    usable = isinstance(record, dict) and {"method", "seed", "cell"} <= record.keys()
    return record if usable and ("accuracy" in record or {"reward", "step"} <= record.keys()) else None


def _place(record: Record) -> tuple[Any, ...]:
    """Where a line belongs: a trial's by its number, a line of the comparison by its cell."""
    number = json.dumps(record["cell"]) if record["method"] == _COMPARISON else record["step"]
    return record["method"], record.get("group"), record["seed"], number

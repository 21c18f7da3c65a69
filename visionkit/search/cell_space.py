"""The space of cells: how many there are, a cell as a row of choices and back, uniform draws.

A cell has some nodes; each takes two of the maps before it (the cell's two inputs and the earlier nodes), applies an
operation to each and adds the results. All maps that no node uses are the output (`backbones.cell_network.cell_plan`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from visionkit.backbones.nasnet_cell import OPERATIONS
from visionkit.errors import ConfigError

Cell = list[list[str | int]]  # a node is [operation, map, operation, map]
Choices = tuple[int, ...]  # four for each node: an operation's place in the list, a map, and the same again


@dataclass(frozen=True)
class CellSpace:
    """All cells of a number of nodes with some operations.

    Raises ConfigError for an unknown operation, one that is given twice, or none.
    """

    nodes: int = 4
    operations: tuple[str, ...] = ("identity", "sep3", "sep5", "max3", "avg3")

    def __post_init__(self) -> None:
        known = ", ".join(OPERATIONS)
        if not self.operations or len(set(self.operations)) < len(self.operations):
            raise ConfigError(f"operations has to name each operation once, out of {known}")
        for name in self.operations:
            if name not in OPERATIONS:
                raise ConfigError(f"operations: a cell's operations are {known}, not {name!r}")

    @property
    def options(self) -> tuple[int, ...]:
        """How many options each choice of a cell has, in order: for 2 nodes and 5 operations 5 2 5 2, 5 3 5 3."""
        return tuple(n for node in range(self.nodes) for n in (len(self.operations), node + 2) * 2)

    @property
    def size(self) -> int:
        """How many rows of choices there are. Networks are fewer: a node's halves may be swapped, nodes reordered."""
        return math.prod(self.options)

    def decode(self, choices: Sequence[int]) -> Cell:
        """The cell of a row of choices."""
        named = [self.operations[c] if i % 2 == 0 else c for i, c in enumerate(choices)]
        return [named[i : i + 4] for i in range(0, len(named), 4)]

    def encode(self, cell: Sequence[Sequence[str | int]]) -> Choices:
        """The choices of a cell of this space, the inverse of `decode`. ValueError for a cell of another space."""
        flat = [item for node in cell for item in node]
        found = tuple(self.operations.index(c) if isinstance(c, str) else c for c in flat)
        if len(found) != len(self.options) or not all(0 <= c < n for c, n in zip(found, self.options, strict=True)):
            raise ValueError(f"not a cell of {self.nodes} nodes of {', '.join(self.operations)}: {cell}")
        return found

    def draw(self, random: torch.Generator) -> Choices:
        """Uniform over `size`."""
        return tuple(int(torch.randint(n, (), generator=random)) for n in self.options)


def cell_text(cell: Sequence[Sequence[str | int]]) -> str:
    """A cell in words, a line for each map."""
    names = ["previous", "current", *(f"map {i}" for i in range(2, len(cell) + 2))]
    uses = [[(str(a), int(i)), (str(b), int(j))] for a, i, b, j in cell]
    lines = [f"{names[i]} = " + " + ".join(f"{op}({names[k]})" for op, k in pair) for i, pair in enumerate(uses, 2)]
    used = {k for pair in uses for _, k in pair}
    loose = [name for i, name in enumerate(names) if i not in used]
    return "\n".join([*lines, "output = " + ", ".join(loose) + (" side by side" if len(loose) > 1 else "")])

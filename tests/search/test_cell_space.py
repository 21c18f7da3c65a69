"""The space of cells: counted by hand, written down and read back, drawn from evenly."""

import itertools
from collections import Counter

import pytest
import torch

from visionkit.backbones.cell_network import cell_plan
from visionkit.errors import ConfigError
from visionkit.search.cell_space import CellSpace, cell_text


@pytest.mark.parametrize(("nodes", "operations"), [(1, 2), (2, 2), (2, 3)])
def test_size_is_the_number_of_different_cells(nodes, operations):
    space = CellSpace(nodes, ("identity", "sep3", "max3")[:operations])
    rows = list(itertools.product(*map(range, space.options)))
    cells = {str(space.decode(row)) for row in rows}
    assert space.size == len(rows) == len(cells)


def test_size_of_the_default_space():
    assert CellSpace().size == (10 * 15 * 20 * 25) ** 2  # 4 nodes, 2 halves each, 5 operations on 2 to 5 maps


def test_decode_and_encode_are_inverse():
    space = CellSpace(2, ("identity", "sep3"))
    for row in itertools.product(*map(range, space.options)):
        cell = space.decode(row)
        assert space.encode(cell) == row
        cell_plan(cell)  # every row is a cell that a network can be built of


def test_draws_repeat_and_are_even():
    space = CellSpace(1, ("identity", "sep3"))
    draws = [space.draw(torch.Generator().manual_seed(seed)) for seed in range(1600)]
    assert draws[:50] == [space.draw(torch.Generator().manual_seed(seed)) for seed in range(50)]
    counts = Counter(draws)
    assert len(counts) == space.size == 16
    assert all(60 < count < 140 for count in counts.values()), counts  # 100 each, standard deviation 10


@pytest.mark.parametrize("cell", [[["sep3", 1, "sep3", 2]], [["sep3", 1, "sep3", 0]] * 2, [["sep9", 0, "sep3", 0]]])
def test_a_cell_of_another_space_is_refused(cell):
    with pytest.raises(ValueError):
        CellSpace(1, ("identity", "sep3")).encode(cell)


@pytest.mark.parametrize("operations", [(), ("sep3", "sep3"), ("sep3", "sep4")])
def test_wrong_operations_are_one_sentence(operations):
    with pytest.raises(ConfigError, match="identity, avg3, max3"):
        CellSpace(2, operations)


def test_a_cell_in_words():
    text = cell_text([["sep3", 1, "identity", 1], ["max3", 2, "avg3", 1]])
    assert text.splitlines() == [
        "map 2 = sep3(current) + identity(current)",
        "map 3 = max3(map 2) + avg3(current)",
        "output = previous, map 3 side by side",
    ]

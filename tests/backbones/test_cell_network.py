"""A network of one repeated cell: the contract, what a cell's description means, and what is refused."""

import pytest
import torch
import yaml

from visionkit.backbones.cell_network import FOUND, CellNetwork, cell_network, cell_plan
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.config import CONFIGS, compose, instantiate
from visionkit.errors import ConfigError

CHAIN = [["sep3", 1, "identity", 0], ["max3", 2, "avg3", 2]]
IDLE = [["identity", 1, "identity", 1]]  # the previous cell's map goes straight to the output


@pytest.mark.parametrize("cell", [FOUND, CHAIN, IDLE], ids=["found", "chain", "idle"])
def test_contract(cell):
    assert_is_backbone(cell_network(cell, width=4, cells=2))


@pytest.mark.parametrize("norm", ["frozen", "group", "none"])
def test_norms(norm):
    assert_is_backbone(cell_network(CHAIN, norm=norm, width=2, cells=1))


def test_compiler_and_exporter_take_it():
    net = cell_network(CHAIN, width=2, cells=2)
    assert_compiles(net, (16, 16))
    assert_exports(net, (16, 16))


def test_loose_ends_are_the_output():
    assert cell_plan(CHAIN).output == (3,)
    assert cell_plan(IDLE).output == (0, 2)
    assert cell_plan([["sep3", 0, "sep3", 0], ["sep5", 0, "sep5", 0]]).output == (1, 2, 3)
    assert CellNetwork(IDLE, width=4, cells=1).stages == {"c0": (8, 1), "c1": (16, 2), "c2": (32, 4)}


@torch.no_grad()
def test_a_cell_computes_what_its_description_says():
    """[[identity, 1, max3, 0]] on two maps: the 1x1 of one plus the pooled 1x1 of the other."""
    group = CellNetwork([["identity", 1, "max3", 0]], width=3, cells=3).eval().group1
    x = torch.randn(2, 3, 6, 7)
    maps = [x]
    for cell, previous, current in zip(group.cells, (0, 0, 1), (0, 1, 2), strict=True):
        pooled = torch.nn.functional.max_pool2d(cell.squeeze_previous(maps[previous]), 3, 1, 1)
        maps.append(cell.squeeze_current(maps[current]) + pooled)
    torch.testing.assert_close(group(x), maps[3])


def test_parameters_by_hand():
    """One cell of width w, one loose end, 3x3 separables twice: every convolution and norm counted."""

    def expected(w: int) -> int:
        total = 27 * w + 2 * w  # stem
        for f in (w, 2 * w, 4 * w):
            squeezes = 2 * (f * f + 2 * f)
            total += squeezes + 2 * (9 * f + f * f + 2 * f)
        return total + sum(9 * f * 2 * f + 4 * f for f in (w, 2 * w))  # reductions

    net = cell_network([["sep3", 1, "identity", 0]], width=8, cells=1)
    assert sum(p.numel() for p in net.parameters()) == expected(8)


def test_the_option_and_the_builder_have_the_same_cell():
    option = yaml.safe_load((CONFIGS / "backbone" / "cell_network.yaml").read_text())
    assert option["cell"] == [list(node) for node in FOUND]


def test_a_cell_on_the_command_line():
    config = compose("train", ["task=classify", "backbone=cell_network", "backbone.cell=[[sep3,1,max3,0]]"])
    net = instantiate(config.backbone, width=2)
    assert net.group1.cells[0].plan.blocks == ((("sep3", 1), ("max3", 0)),)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ([["sep4", 1, "max3", 0]], "identity, avg3, max3, .* not 'sep4'"),
        ([["sep3", 1, "max3", 2]], "map 2 of a cell is made of maps 0 to 1, not of 2"),
        ([["sep3", -1, "max3", 0]], "not of -1"),
        ([["sep3", 1]], r"\[operation, map, operation, map\] .* not \['sep3', 1\]"),
        ([[1, "sep3", 0, "max3"]], "operation, map, operation, map"),
        ([["sep3", True, "max3", 0]], "operation, map, operation, map"),
        ([], "a list of nodes"),
        ("sep3", "a list of nodes"),
        (None, "a list of nodes"),
    ],
)
def test_a_wrong_cell_is_one_sentence(cell, words):
    with pytest.raises(ConfigError, match=words) as caught:
        cell_network(cell)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"cells": 1.5}, {"cells": True}, {"norm": "layer"}])
def test_wrong_sizes_are_one_sentence(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        cell_network(CHAIN, **wrong)

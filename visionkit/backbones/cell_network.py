"""A small network of one repeated cell: what an architecture search chooses among (docs/architecture_search.md).

After Zoph and Le, "Neural Architecture Search with Reinforcement Learning", 2017, and Zoph et al., "Learning
Transferable Architectures for Scalable Image Recognition", 2018: three groups of normal cells at strides 1, 2 and 4,
as in a CIFAR ResNet. The normal cell is data; its modules are NASNet's (`nasnet_cell.Cell`). The reduction is fixed
here, one 3x3 convolution of stride 2, and both inputs of the cell after it are its map, so that the trunk is a chain.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.nasnet_cell import Cell, CellPlan, convolution
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.errors import ConfigError

Nodes = Sequence[Sequence[str | int]]  # each [operation, map, operation, map], as YAML and a command line have it

# Of the searches in docs/architecture_search.md the cell with the highest reward; its figures are in the option's file.
FOUND: Nodes = (("avg3", 1, "max3", 0), ("sep3", 0, "sep3", 1), ("identity", 0, "sep5", 0), ("sep5", 4, "identity", 1))


def cell_plan(nodes: Nodes) -> CellPlan:
    """The plan of a cell's nodes. Maps are counted from 0: the cell before the last, the last cell, then each node.

    A node applies one operation to one map, another to another, and adds the results. The cell's output is all maps
    that no node uses, its inputs among them, side by side.

    Raises ConfigError for nodes of another form, an unknown operation or a map that is not there.
    """
    if not isinstance(nodes, (list, tuple)) or not nodes:
        raise ConfigError(f"a cell is a list of nodes such as [[sep3,1,identity,0]], not {nodes!r}")
    blocks = tuple(_block(node) for node in nodes)
    used = {source for block in blocks for _, source in block}
    return CellPlan(blocks, tuple(i for i in range(len(blocks) + 2) if i not in used))


def _block(node: Any) -> tuple[tuple[str, int], tuple[str, int]]:
    if not isinstance(node, (list, tuple)) or [type(item) for item in node] != [str, int, str, int]:
        raise ConfigError(
            f"a node of a cell is [operation, map, operation, map] such as [sep3,1,identity,0], not {node!r}"
        )
    return (node[0], node[1]), (node[2], node[3])


class CellGroup(nn.Module):
    """Cells of one size: (B, C, h, w) -> (B, filters * loose ends, h, w). The first has the map as both inputs."""

    def __init__(self, plan: CellPlan, stage: Stage, filters: int, cells: int, norm: str) -> None:
        super().__init__()
        self.cells, previous = nn.ModuleList(), stage
        for _ in range(cells):
            cell = Cell(plan, previous, stage, filters, 1, norm)
            self.cells.append(cell)
            previous, stage = stage, cell.stage
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        previous = x
        for cell in self.cells:
            previous, x = x, cell(previous, x)
        return x


class CellNetwork(Backbone):
    """Stem and three groups of cells with a reduction between them; the third is the tail of a region as well as c2.

    Args:
        cell: see `cell_plan`.
        width: channels of a node in the first group; twice and four times as many follow.
        cells: normal cells in each group.
        norm: "batch", "frozen", "group" or "none", used everywhere.
    """

    classifier_keys = {"linear.": "linear."}
    min_size = 8
    resolution = 32

    def __init__(self, cell: Nodes, width: int = 16, cells: int = 2, norm: str = "batch") -> None:
        super().__init__()
        for name, value in (("width", width), ("cells", cells)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} has to be a whole number of at least 1, not {value!r}")
        plan = cell_plan(cell)
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=norm == "none")
        self.stem_norm = norm_layer(norm)(width)
        self.group1 = CellGroup(plan, Stage(width, 1), width, cells, norm)
        self.reduction1 = convolution(3, self.group1.stage.channels, 2 * width, 2, norm)
        self.group2 = CellGroup(plan, Stage(2 * width, 2), 2 * width, cells, norm)
        self.reduction2 = convolution(3, self.group2.stage.channels, 4 * width, 2, norm)
        self.group3 = CellGroup(plan, Stage(4 * width, 4), 4 * width, cells, norm)
        self.relu = nn.ReLU(inplace=True)  # a cell's operations begin with theirs, so the last cell's map needs one

        self.stages = {f"c{i}": group.stage for i, group in enumerate((self.group1, self.group2, self.group3))}
        self.paths = {
            "c0": ("stem", "stem_norm", "group1"),
            "c1": ("reduction1", "group2"),
            "c2": ("reduction2", "group3", "relu"),
        }
        self.region_stages = self.proposal_stages = ("c1",)
        self.window = 16  # of a 32 x 32 image
        self.out_channels = self.stages["c2"].channels
        self.dense_stride = 2
        initialise_weights(self, "he")

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.relu(self.group3(self.reduction2(windows)))  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def cell_network(
    cell: Nodes = FOUND, weights: str | None = None, norm: str = "batch", width: int = 16, cells: int = 2
) -> CellNetwork:
    """A network of the given cell. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(CellNetwork(cell, width, cells, norm), weights)

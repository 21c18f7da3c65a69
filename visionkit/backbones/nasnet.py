"""NASNet-A (Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017).

Two cells found by search on CIFAR-10, stacked: a reduction cell halves the side and doubles the filters, N normal cells
follow, three times over; before them come a convolution and two reduction cells that bring an image to 1/8.

Layers with a stride pad alike on both sides, where TensorFlow, in which the network was published, pads less before a
map of even size than after it. On sides that are 3 more than a multiple of 64 both are the same.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier, run_chain
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.nasnet_cell import CURRENT, PREVIOUS, Cell, CellPlan
from visionkit.backbones.norms import FrozenBatchNorm2d, norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.errors import ConfigError

NORMAL = CellPlan(  # fig. 4, left
    blocks=(
        (("sep5", CURRENT), ("sep3", PREVIOUS)),
        (("sep5", PREVIOUS), ("sep3", PREVIOUS)),
        (("avg3", CURRENT), ("identity", PREVIOUS)),
        (("avg3", PREVIOUS), ("avg3", PREVIOUS)),
        (("sep3", CURRENT), ("identity", CURRENT)),
    ),
    output=(PREVIOUS, 2, 3, 4, 5, 6),
)
REDUCTION = CellPlan(  # fig. 4, right
    blocks=(
        (("sep5", CURRENT), ("sep7", PREVIOUS)),
        (("max3", CURRENT), ("sep7", PREVIOUS)),
        (("avg3", CURRENT), ("sep5", PREVIOUS)),
        (("avg3", 2), ("identity", 3)),
        (("sep3", 2), ("max3", CURRENT)),
    ),
    output=(3, 4, 5, 6),
)

Maps = tuple[Tensor, Tensor]  # of the cell before the last, and of the last


class Stem(nn.Module):
    """3x3 convolution, stride 2, unpadded: (B, 3, h, w) -> (B, width, (h - 1) // 2, (w - 1) // 2), as both maps."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, bias=norm == "none")
        self.norm = norm_layer(norm)(width)

    def forward(self, images: Tensor) -> Maps:
        x = self.norm(self.conv(images))
        return x, x


class Row(nn.Module):
    """Cells in a row, each on the maps of the two cells before it.

    Args:
        cells: plan, filters and stride of each.
        stages: the maps that the first one sees; see `Cell`.
        skips: the second cell sees what the first one saw of the cell before the last, not of the last one (behind
            the reductions of the larger network: `skip_reduction_layer_input` of the paper's code).
        last: applied to the last cell's map.

    Attributes:
        stages: the maps of the last two cells.
    """

    def __init__(
        self,
        cells: Sequence[tuple[CellPlan, int, int]],
        stages: tuple[Stage | None, Stage],
        skips: bool,
        last: nn.Module,
        norm: str,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.skips = skips
        self.cells = nn.ModuleList()
        for i, (plan, filters, stride) in enumerate(cells):
            cell = Cell(plan, *stages, filters, stride, norm, drop_path)
            stages = (stages[0] if self._keeps(i) else stages[1], cell.stage)
            self.cells.append(cell)
        self.stages = stages
        self.last = last

    def _keeps(self, i: int) -> bool:
        return self.skips and i == 0

    def forward(self, maps: Maps) -> Maps:
        for i, cell in enumerate(self.cells):
            maps = (maps[0] if self._keeps(i) else maps[1], cell(*maps))
        return maps[0], self.last(maps[1])


class AuxiliaryHead(nn.Module):
    """Class scores from an inner map, an additional loss in training: average pool to 4 x 4, 128 and 768 channels.

    The paper's pool of 5 x 5 with stride 3 gives 4 x 4 at an image of 224 only. The last norm sees one position an
    image: with batch norm a training batch needs two images or more.
    """

    def __init__(self, skipped: int, channels: int, num_classes: int, norm: str) -> None:
        super().__init__()
        self.skipped = skipped
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.inner = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=norm == "none"), norm_layer(norm)(128), nn.ReLU(inplace=True)
        )
        self.whole = nn.Sequential(
            nn.Conv2d(128, 768, 4, bias=norm == "none"), norm_layer(norm)(768), nn.ReLU(inplace=True)
        )
        self.linear = nn.Linear(768, num_classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the last two cells (B, skipped + channels, h, w) -> (B, num_classes), from the last one's."""
        if self.training and len(maps) == 1 and isinstance(self.whole[1], nn.BatchNorm2d):
            raise ConfigError(
                "NASNet's auxiliary head normalises one value a channel over the batch, so it needs two images a step: "
                "trainer.batch_size=2, or task.aux_weight=0"
            )
        x = self.pool(self.relu(maps[:, self.skipped :]))  # (B, channels, 4, 4)
        return self.linear(self.whole(self.inner(x)).flatten(1))


class NASNet(Backbone):
    """Stem, two reduction cells, and cells in three groups of which the third is the tail. The tail's first cell takes
    the maps of two cells, so stage c4 is both, concatenated. The maps of stages c1 ... c4 come before a ReLU.

    Args:
        cells: normal cells in each group, one or more (N in the paper).
        filters: of the first group's cells; each reduction doubles them.
        width: channels of the stem.
        skips: see `Row`.
        norm: "batch", "frozen", "group" or "none", used everywhere.
        dropout: before the classifier's linear layer.
        drop_path: probability with which an operation's result is left out in training. It stays the same: the paper
            raises it from 0 in the course of the training ("ScheduledDropPath").
        normal, reduction: the two kinds of cells; other plans make other networks.
    """

    mean = std = (0.5, 0.5, 0.5)

    def __init__(
        self,
        cells: int,
        filters: int,
        width: int,
        skips: bool = False,
        norm: str = "batch",
        dropout: float = 0.5,
        drop_path: float = 0.0,
        normal: CellPlan = NORMAL,
        reduction: CellPlan = REDUCTION,
    ) -> None:
        super().__init__()
        if cells < 1:
            raise ConfigError(f"a NASNet has one normal cell or more in each group, not {cells}")
        self.norm_name, self.dropout = norm, dropout
        self.stem = Stem(width, norm)
        self.stages, self.paths = {"c1": Stage(width, 2)}, {"c1": ("stem",)}
        rows = {
            2: [(reduction, filters // 4, 2)],
            3: [(reduction, filters // 2, 2), *[(normal, filters, 1)] * cells],
            4: [(reduction, filters * 2, 2), *[(normal, filters * 2, 1)] * cells],
            5: [(reduction, filters * 4, 2), *[(normal, filters * 4, 1)] * cells],
        }
        seen: tuple[Stage | None, Stage] = (None, self.stages["c1"])
        for level, row in rows.items():
            last = nn.ReLU() if level == 5 else nn.Identity()
            module = Row(row, seen, skips and level > 3, last, norm, drop_path)
            seen = module.stages
            if level == 4:
                self.two = [stage.channels for stage in seen if stage]  # of the previous cell and the last one
            self.add_module(f"cells{level}", module)
            self.paths[f"c{level}"] = (f"cells{level}",)
            self.stages[f"c{level}"] = seen[1]
        self.stages["c4"] = Stage(sum(self.two), 16)
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.out_channels = self.stages["c5"].channels
        self.dense_stride = 2
        initialise_weights(self, "he")
        for layer in self.modules():
            if isinstance(layer, (nn.BatchNorm2d, FrozenBatchNorm2d)):
                layer.eps = 1e-3  # the paper's code

    def forward(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        self.require_size(images)
        pairs: dict[str, Any] = run_chain(self.parts(), images, names)  # the maps of two cells: no plain chain
        return {name: torch.cat(pair, dim=1) if name == "c4" else pair[1] for name, pair in pairs.items()}

    def tail_maps(self, windows: Tensor) -> Tensor:
        _, maps = self.get_submodule("cells5")(windows.split(self.two, dim=1))
        return maps  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes, self.dropout)

    def new_aux_classifiers(self, num_classes: int) -> nn.ModuleDict:
        """On c4, as the paper's code has it."""
        return nn.ModuleDict({"c4": AuxiliaryHead(self.two[0], self.two[1], num_classes, self.norm_name)})


def nasnet_mobile(
    weights: str | None = None, norm: str = "batch", dropout: float = 0.5, drop_path: float = 0.0
) -> NASNet:
    """NASNet-A (4 @ 1056), for images of 224. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(NASNet(4, 44, 32, norm=norm, dropout=dropout, drop_path=drop_path), weights)


def nasnet_large(
    weights: str | None = None, norm: str = "batch", dropout: float = 0.5, drop_path: float = 0.3
) -> NASNet:
    """NASNet-A (6 @ 4032), for images of 331. `weights`: None or a file; see `pretrained.load_weights`."""
    net = NASNet(6, 168, 96, skips=True, norm=norm, dropout=dropout, drop_path=drop_path)
    net.resolution = 331
    return initialise(net, weights)

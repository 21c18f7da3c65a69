"""How many objects there are in each cell of a map: the head of counting by density."""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Stage
from visionkit.backbones.norms import norm_layer
from visionkit.heads.conv_norm_relu import conv_norm_relu
from visionkit.ops.upsample import resize_maps

_START = -3.0  # softplus of it is 0.05: what a map of a crowd holds on average


class DensityHead(nn.Module):
    """Maps of a backbone -> a density map on the grid of the finest.

    Each map goes through a 1x1 convolution and is enlarged to the finest; their sum goes through 3x3 convolutions and a
    last 1x1 convolution to one channel, whose softplus is the density. MCNN (Zhang et al. 2016) and CSRNet (Li et al.
    2018) end in a plain convolution or ReLU: a ReLU that is 0 everywhere, as it may be from the first steps on, has no
    gradient and stays so, and densities below 0 count objects away.

    Args:
        stages: the maps by stage name, the finest first.
        hidden: channels.
        convs: how many 3x3 convolutions, at least 1.
        norm: after each of them: "batch", "frozen", "group" or "none".
    """

    class_layers = ()  # there is one class

    def __init__(self, stages: Mapping[str, Stage], hidden: int = 64, convs: int = 2, norm: str = "batch") -> None:
        super().__init__()
        self.stages: Sequence[str] = tuple(stages)
        self.stride = next(iter(stages.values())).stride  # pixels of a cell
        self.multiple = max(stage.stride for stage in stages.values())  # sides of the picture, pixels
        self.lateral = nn.ModuleList([nn.Conv2d(stage.channels, hidden, 1) for stage in stages.values()])
        self.convs = nn.Sequential(*[conv_norm_relu(hidden, hidden, norm_layer(norm)) for _ in range(convs)])
        self.density = nn.Conv2d(hidden, 1, 1)
        for layer in self.lateral:
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="linear")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        assert self.density.bias is not None
        nn.init.normal_(self.density.weight, std=0.01)
        nn.init.constant_(self.density.bias, _START)

    def forward(self, maps: dict[str, Tensor], grid: tuple[int, int]) -> Tensor:
        """Maps (B, C, h, w) of `stages` -> density (B, *grid) float32, at least 0: objects in each cell.

        A network of unpadded layers gives maps a few cells short of the grid; they are stretched to it.
        """
        features = [layer(maps[name]) for layer, name in zip(self.lateral, self.stages, strict=True)]
        total = resize_maps(features[0], grid)  # (B, hidden, h, w)
        for coarser in features[1:]:
            total = total + resize_maps(coarser, grid)
        raw: Tensor = self.density(self.convs(F.relu(total)))  # (B, 1, h, w)
        return F.softplus(raw.float())[:, 0]

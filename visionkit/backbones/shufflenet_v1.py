"""ShuffleNet v1's unit (Zhang et al., "ShuffleNet", 2017): 1x1 convolutions in groups, and a shuffle so that the groups
learn of each other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.norms import norm_layer
from visionkit.errors import ConfigError


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """(B, C, h, w) -> the same maps, the first channels of all groups in front, then the second ... (sec. 3.1).

    Channels written as a table of `groups` rows are read by columns: as
    `x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)`, but torch's kernel keeps channels_last.
    """
    return F.channel_shuffle(x, groups)


class ShuffleUnit(nn.Module):
    """Grouped 1x1 down, shuffle, 3x3 depthwise, grouped 1x1 up (fig. 2).

    At stride 1 the shortcut is the identity and is added (b). At stride 2 it is an average pool and is concatenated
    (c), so the convolutions give only the `out - channels` others.

    Costs h w (2 c m / g + 9 m) multiply-adds at stride 1, where m = out / 4 are the bottleneck's channels (sec. 3.2).
    """

    def __init__(self, channels: int, out: int, groups: int, stride: int = 1, norm: str = "batch") -> None:
        super().__init__()
        if stride not in (1, 2) or (stride == 1) != (channels == out) or channels > out:
            raise ConfigError(
                f"a shuffle unit keeps its channels at stride 1 and adds to them at stride 2, "
                f"it has no form for {channels} to {out} at stride {stride}"
            )
        width, branch = out // 4, out if stride == 1 else out - channels
        if channels % groups or branch % groups or out % 4 or width % groups:
            raise ConfigError(
                f"{channels} input channels, {branch} of the branch and {out} / 4 of its bottleneck must be "
                f"divisible by {groups} groups"
            )
        bias, make_norm = norm == "none", norm_layer(norm)
        self.groups, self.stride = groups, stride
        self.down = nn.Sequential(
            nn.Conv2d(channels, width, 1, groups=groups, bias=bias), make_norm(width), nn.ReLU(inplace=True)
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=bias), make_norm(width)
        )
        self.up = nn.Sequential(nn.Conv2d(width, branch, 1, groups=groups, bias=bias), make_norm(branch))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = channel_shuffle(self.down(x), self.groups)  # (B, out / 4, h, w)
        y = self.up(self.depthwise(y))
        if self.stride == 1:
            return self.relu(x + y)  # (B, out, h, w)
        return self.relu(torch.cat((F.avg_pool2d(x, 3, 2, padding=1), y), dim=1))  # (B, out, ceil(h / 2), ceil(w / 2))

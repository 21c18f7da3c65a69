"""Tails for necks, which have dropped their body's own: a window of a pyramid map, or of a dilated one, to a vector."""

import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.chain import linear_as_conv
from visionkit.backbones.norms import norm_layer


class TwoLayerTail(nn.Module):
    """Two fully connected layers on a window: the box head of FPN, sec. 4.2 (torchvision's keys fc6, fc7)."""

    def __init__(self, channels: int, window: int = 7, hidden: int = 1024) -> None:
        super().__init__()
        self.window = window
        self.out_channels = hidden
        self.fc6 = nn.Linear(channels * window**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)

    def forward(self, windows: Tensor) -> Tensor:
        """(R, C, window, window) -> (R, hidden)."""
        return F.relu(self.fc7(F.relu(self.fc6(windows.flatten(1)))))

    def dense(self, maps: Tensor) -> Tensor:
        """Over a whole map: (B, C, h, w) -> (B, hidden, h - window + 1, w - window + 1)."""
        return F.relu(linear_as_conv(self.fc7, F.relu(linear_as_conv(self.fc6, maps, self.window)), 1))


class ConvTail(nn.Module):
    """Convolutions, then one fully connected layer: the head of "Group Normalization" (Wu and He 2018, sec. 4.2) that
    torchvision's second version has with batch norm.

    Args:
        channels: of the window, and of every convolution.
        window: side of the window.
        hidden: length of the vector.
        convs: 3x3 convolutions.
        norm: after each of them.
    """

    def __init__(self, channels: int, window: int = 7, hidden: int = 1024, convs: int = 4, norm: str = "batch") -> None:
        super().__init__()
        self.window = window
        self.out_channels = hidden
        make_norm = norm_layer(norm)
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=norm == "none"), make_norm(channels))
            for _ in range(convs)
        )
        self.fc = nn.Linear(channels * window**2, hidden)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[index]
            if norm == "none":
                nn.init.zeros_(conv[0].bias)  # type: ignore[index]

    def _maps(self, windows: Tensor) -> Tensor:
        for conv in self.convs:
            windows = F.relu(conv(windows), inplace=True)
        return windows

    def forward(self, windows: Tensor) -> Tensor:
        """(R, C, window, window) -> (R, hidden)."""
        return F.relu(self.fc(self._maps(windows).flatten(1)))

    def dense(self, maps: Tensor) -> Tensor:
        """Over a whole map: (B, C, h, w) -> (B, hidden, h - window + 1, w - window + 1).

        The padded convolutions see beyond a window's edge here.
        """
        return F.relu(linear_as_conv(self.fc, self._maps(maps), self.window))

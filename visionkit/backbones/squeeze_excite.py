"""Squeeze-and-excitation (Hu et al., "Squeeze-and-Excitation Networks", 2017, sec. 3)."""

from collections.abc import Callable

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Every channel is scaled by a number in 0 ... 1 that follows from the means of all channels.

    The two fully connected layers are 1x1 convolutions called `fc1` and `fc2`, as in torchvision's and timm's keys.

    Args:
        channels: of the maps.
        hidden: between the two layers (channels / 16 in the paper).
        activation: after the first layer.
    """

    def __init__(self, channels: int, hidden: int, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.activation = activation()
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))  # (B, C, 1, 1)
        return x * self.scale_activation(scale)

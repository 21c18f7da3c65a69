"""MobileNet v2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks", 2018): shortcuts between thin maps, with
the depthwise convolution in a wide space between them, and no activation on the thin maps.

Keys are torchvision's: `features.N`.
"""

from torch import Tensor, nn

from visionkit.backbones import imagenet
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.errors import ConfigError

# Table 2: expansion, output channels, blocks, stride of the first block.
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, or the next above where that loses more than a tenth.

    Halves go up, and the least is `divisor` itself; the rule of the authors' release for every width multiplier.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor


def conv_norm_relu6(channels: int, out: int, size: int, stride: int, groups: int, norm: str) -> nn.Sequential:
    """(B, channels, h, w) -> (B, out, ceil(h / stride), ceil(w / stride))."""
    return nn.Sequential(
        nn.Conv2d(channels, out, size, stride, padding=size // 2, groups=groups, bias=norm == "none"),
        norm_layer(norm)(out),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1x1 up, 3x3 depthwise, 1x1 down without activation; a shortcut where the shape stays (table 1, fig. 4)."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int, norm: str) -> None:
        super().__init__()
        hidden = channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_norm_relu6(channels, hidden, 1, 1, 1, norm))
        layers.append(conv_norm_relu6(hidden, hidden, 3, stride, hidden, norm))
        layers.append(nn.Conv2d(hidden, out, 1, bias=norm == "none"))
        layers.append(norm_layer(norm)(out))
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)  # (B, out, ceil(h / stride), ceil(w / stride))
        return x + y if self.shortcut else y


class MobileNetV2(Backbone):
    """Stages c1 ... c4 are linear bottlenecks, the last of each stride; c5 is the 1x1 convolution before the mean.

    Args:
        norm: after every convolution; "none" gives them biases.
        width: multiplies the channels of every layer but the last, which only grows (sec. 4).
        dropout: before the classifier's linear layer.
    """

    classifier_keys = {"classifier.1.": "linear."}

    def __init__(self, norm: str = "batch", width: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        if width <= 0:
            raise ConfigError(f"width must be above 0 (the paper has 0.35 to 1.4), not {width}")
        self.dropout = dropout
        channels, level = make_divisible(32 * width), 1
        layers: list[nn.Module] = [conv_norm_relu6(3, channels, 3, 2, 1, norm)]  # (B, 32, h / 2, w / 2)
        self.stages, self.paths = {}, {f"c{i}": () for i in range(1, 6)}
        self.paths["c1"] = ("features.0",)
        for expansion, out, count, first_stride in ROWS:
            level += first_stride - 1
            for i in range(count):
                stride = first_stride if i == 0 else 1
                self.paths[f"c{level}"] += (f"features.{len(layers)}",)
                layers.append(InvertedResidual(channels, make_divisible(out * width), stride, expansion, norm))
                channels = make_divisible(out * width)
            self.stages[f"c{level}"] = Stage(channels, 1 << level)
        self.out_channels = make_divisible(1280 * max(1.0, width))
        self.paths["c5"] += (f"features.{len(layers)}",)
        self.stages["c5"] = Stage(self.out_channels, 32)
        layers.append(conv_norm_relu6(channels, self.out_channels, 1, 1, 1, norm))
        self.features = nn.Sequential(*layers)
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.dense_stride = 2
        self._initialise("fan_in" if norm == "none" else "fan_out")

    def _initialise(self, mode: str) -> None:
        """As torchvision (fan out). Without norms that would starve the depthwise convolutions, whose fan out counts
        all channels and not the one that a filter feeds: fan in then."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode)  # type: ignore[arg-type]
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.through("c5", windows)  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        head = linear_classifier(self.out_channels, num_classes, self.dropout)
        linear = head.get_submodule("linear")
        assert isinstance(linear, nn.Linear)
        nn.init.normal_(linear.weight, 0, 0.01)
        nn.init.zeros_(linear.bias)
        return head


def mobilenet_v2(
    weights: str | None = None, norm: str = "batch", width: float = 1.0, dropout: float = 0.2
) -> MobileNetV2:
    """MobileNet v2. `weights`: None, "imagenet" (width 1 only) or a file; see `pretrained.load_weights`."""
    net = MobileNetV2(norm, width, dropout)
    if width == 1:
        net.weights_url = imagenet.URLS["mobilenet_v2"]
    return initialise(net, weights)

"""MobileNet v1 (Howard et al., "MobileNets: Efficient CNNs for Mobile Vision Applications", 2017): a plain chain of
depthwise separable convolutions, made thinner by one number.

ReLU6 as in the authors' TensorFlow release and the weights since; the paper's fig. 3 prints ReLU.
"""

from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.depthwise import depthwise_separable
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise
from visionkit.errors import ConfigError

# Table 1: output channels of the blocks of each level. All levels but the first, which the stem begins, start with a
# block of stride 2. The last block's stride is 1; the table prints 2 there, beside maps of one size.
WIDTHS = ((64,), (128,) * 2, (256,) * 2, (512,) * 6, (1024,) * 2)


class MobileNetV1(Backbone):
    """A 3x3 convolution and thirteen depthwise separable ones; the two of stride 32 are the tail.

    Args:
        norm: after every convolution; "none" gives them biases.
        width: multiplies the channels of every layer (sec. 3.3); 1, 0.75, 0.5 and 0.25 in the paper.
    """

    classifier_keys = {"classifier.": "linear."}

    def __init__(self, norm: str = "batch", width: float = 1.0) -> None:
        super().__init__()
        if width <= 0:
            raise ConfigError(f"width must be above 0 (the paper has 1, 0.75, 0.5 and 0.25), not {width}")
        channels = _thinner(32, width)
        stem = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=norm == "none")
        layers = [nn.Sequential(stem, norm_layer(norm)(channels), nn.ReLU6(inplace=True))]  # (B, 32, h / 2, w / 2)
        self.stages, self.paths = {}, {}
        for level, widths in enumerate(WIDTHS, start=1):
            first = len(layers) if level > 1 else 0
            for i, out in enumerate(widths):
                stride = 2 if level > 1 and i == 0 else 1
                layers.append(depthwise_separable(channels, _thinner(out, width), stride, norm))
                channels = _thinner(out, width)
            self.stages[f"c{level}"] = Stage(channels, 1 << level)
            self.paths[f"c{level}"] = tuple(f"features.{i}" for i in range(first, len(layers)))
        self.features = nn.Sequential(*layers)
        self.region_stages = self.proposal_stages = ("c4",)
        self.window = 14
        self.out_channels = channels
        self.dense_stride = 2
        self._initialise()

    def _initialise(self) -> None:
        """He's by fan in, which also fits a convolution of one channel; the paper does not say."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def tail_maps(self, windows: Tensor) -> Tensor:
        return self.through("c5", windows)  # (R, out_channels, ceil(h / 2), ceil(w / 2))

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes)


def _thinner(channels: int, width: float) -> int:
    """At least 8, as in the authors' release."""
    return max(8, int(channels * width))


def mobilenet_v1(weights: str | None = None, norm: str = "batch", width: float = 1.0) -> MobileNetV1:
    """MobileNet v1. `weights`: None or a file; torchvision publishes none."""
    return initialise(MobileNetV1(norm, width), weights)

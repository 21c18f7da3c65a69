"""LeNet-5 (LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998): 32 x 32 gray, 60k weights.

Simplified from sec. II-B: subsampling is a plain mean, without trained coefficient, bias and squashing; every map of
the second convolution (the paper's C3) sees all six maps before it, not the subsets of table I (2,416 parameters, not
1,516); tanh is not scaled; the output is a linear layer with softmax, not Euclidean distances to fixed bitmaps; initial
weights are Xavier's (He's with ReLU and its kin).
Stages are named by level here, as everywhere: c1 is not the paper's C1.
"""

from torch import Tensor, nn

from visionkit.backbones.activations import activation_layer, pieces_of
from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.initialisers import initialise_weights
from visionkit.backbones.norms import norm_layer
from visionkit.backbones.pretrained import initialise


class LeNet(Backbone):
    """Two convolutions with a pool after each, then c5 and f6 (the paper's names) as convolutions.

    The paper calls c5 a convolution too, because on a larger image it has more than one position; so the tail takes
    maps of any size, and runs densely as it is.

    Args:
        pool: nn.AvgPool2d or nn.MaxPool2d, after each convolution.
        activation: after every layer; see `activations.ACTIVATIONS`.
        norm: "none" for the paper's network, else one after each of the two convolutions of the trunk.
    """

    color = "gray"
    mean = (0.1307,)  # of MNIST
    std = (0.3081,)
    min_size = 32
    resolution = 32
    dense_exact = True

    def __init__(
        self,
        pool: type[nn.AvgPool2d] | type[nn.MaxPool2d] = nn.AvgPool2d,
        activation: str = "tanh",
        norm: str = "none",
    ) -> None:
        super().__init__()
        make_norm, activate, pieces = norm_layer(norm), activation_layer(activation), pieces_of(activation)
        bias = norm == "none"
        self.conv1 = nn.Conv2d(1, 6 * pieces, 5, bias=bias)
        self.norm1 = make_norm(6 * pieces)
        self.act1 = activate()
        self.pool1 = pool(2)
        self.conv2 = nn.Conv2d(6, 16 * pieces, 5, bias=bias)
        self.norm2 = make_norm(16 * pieces)
        self.act2 = activate()
        self.pool2 = pool(2)
        self.c5 = nn.Conv2d(16, 120 * pieces, 5)
        self.act5 = activate()
        self.f6 = nn.Conv2d(120, 84 * pieces, 1)
        self.act6 = activate()

        self.stages = {"c0": Stage(6, 1), "c1": Stage(16, 2), "c2": Stage(16, 4)}
        self.paths = {
            "c0": ("conv1", "norm1", "act1"),  # 28 x 28
            "c1": ("pool1", "conv2", "norm2", "act2"),  # 10 x 10
            "c2": ("pool2",),  # 5 x 5
        }
        self.region_stages = self.proposal_stages = ("c1",)
        self.window = 10
        self.out_channels = 84
        self.dense_stride = 2  # pool2
        initialise_weights(self, "xavier" if activation in ("sigmoid", "tanh") else "he")

    def tail_maps(self, windows: Tensor) -> Tensor:
        x = self.act5(self.c5(self.pool2(windows)))  # (R, 120, h / 2 - 4, w / 2 - 4)
        return self.act6(self.f6(x))  # (R, 84, h / 2 - 4, w / 2 - 4)

    def new_classifier(self, num_classes: int) -> nn.Module:
        head = linear_classifier(self.out_channels, num_classes)
        initialise_weights(head, "xavier")
        return head


def lenet(weights: str | None = None, norm: str = "none", activation: str = "tanh") -> LeNet:
    """LeNet-5 with tanh and mean pooling. `weights`: None or a file; see `pretrained.load_weights`."""
    return initialise(LeNet(nn.AvgPool2d, activation, norm), weights)


def lenet_relu(weights: str | None = None, norm: str = "none", activation: str = "relu") -> LeNet:
    """LeNet-5 as it is built today: ReLU and max pooling. `weights`: None or a file."""
    return initialise(LeNet(nn.MaxPool2d, activation, norm), weights)

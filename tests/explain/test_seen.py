"""What units see, beside where the gradient of one of them is not 0."""

import pytest
import torch
from torch import Tensor, nn

from visionkit.backbones.alexnet import AlexNet, alexnet_blocks
from visionkit.backbones.densenet import DenseNet
from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import ResNet
from visionkit.backbones.resnet_blocks import BasicBlock
from visionkit.backbones.se_resnet import se_resnet18
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError
from visionkit.explain.layer_maps import layer_maps
from visionkit.explain.seen import seen_by
from visionkit.models.build import classifier


def influence(model: nn.Module, layer: str, images: Tensor, place: tuple[int, int]) -> Tensor:
    """(H, W) bool: the pixels that the cells at a place depend on, all channels together."""
    images = images.requires_grad_()
    maps = layer_maps(model, layer, images)  # (1, C, h, w)
    (found,) = torch.autograd.grad(maps[0, :, place[0], place[1]].abs().sum(), images)
    return found[0].abs().sum(dim=0) > 0


def alexnet() -> AlexNet:
    """Of torchvision's geometry, with fewer channels; so are the others."""
    return AlexNet(alexnet_blocks((16, 24, 24, 16, 16), "none", pad=2), 63, hidden=(32, 32))


def resnet18() -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), widths=(8, 16, 16, 32))


def densenet() -> DenseNet:
    return DenseNet(growth=8, depths=(2, 2, 2, 2), width=16)


@pytest.mark.parametrize(
    ("network", "size"), [(alexnet, 192), (vgg11_bn_narrow, 160), (resnet18, 224), (densenet, 256)]
)
def test_a_unit_sees_its_box_to_the_corners_and_nothing_else(network, size):
    """Of every stage, in the middle and at two corners of the map, where the box sticks out of the image."""
    model = classifier(network(), 5, size=size).eval()
    inside = 0
    for layer in model.backbone.stages:
        seen = seen_by(model, layer, (size, size))
        maps = layer_maps(model, layer, torch.zeros(1, 3, size, size))
        assert seen.channels == maps.shape[1] and not seen.gated
        height, width = maps.shape[2:]
        for place in ((height // 2, width // 2), (0, width - 1), (height - 1, 1)):
            found = influence(model, layer, torch.randn(1, 3, size, size), place)
            x1, y1, x2, y2 = seen.box(*place)
            assert (y2 - y1, x2 - x1) == seen.size
            inside += min(x1, y1) >= 0 and max(x2, y2) <= size
            top, left, bottom, right = max(y1, 0), max(x1, 0), min(y2, size), min(x2, size)
            rows, columns = found.nonzero().unbind(1)
            edges = [int(one) for one in (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)]
            assert edges == [top, left, bottom, right], (layer, place)
    assert inside >= 2, "some boxes lie in the image, all four edges of them"


def test_larger_than_the_image():
    model = classifier(resnet18(), 5, size=64).eval()
    small, large = seen_by(model, "c1", (64, 64)), seen_by(model, "c5", (64, 64))
    assert (small.size, small.larger_than_image) == ((7, 7), False)
    assert (large.size, large.larger_than_image) == ((435, 435), True)


def test_vectors_see_the_whole_picture_and_gray_networks_work():
    model = classifier(lenet(), 10).eval()
    seen = seen_by(model, "head", (32, 32))
    assert seen.channels == 10
    x1, y1, x2, y2 = seen.box(0, 0)
    assert x1 <= 0 and y1 <= 0 and x2 >= 32 and y2 >= 32


def test_gates_are_told_of():
    model = classifier(se_resnet18(), 5, size=64).eval()
    assert seen_by(model, "c2", (64, 64)).gated and not seen_by(model, "c1", (64, 64)).gated


def test_the_model_stays_as_it_is():
    model = classifier(vgg11_bn_narrow(), 5, size=96).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen_by(model, "c3", (96, 96))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.device.type == "cpu" for value in model.parameters())


def test_refused():
    model = classifier(vgg11_bn_narrow(), 5, size=96).eval()
    with pytest.raises(ConfigError, match=r"no layer 'c9'.*c5"):
        seen_by(model, "c9", (96, 96))
    with pytest.raises(ConfigError, match="features.7"):
        seen_by(model, "features.77", (96, 96))


def test_what_cannot_be_followed_is_not_claimed():
    class Rolled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.roll(1, dims=2)

    model = classifier(vgg11_bn_narrow(), 5, size=96).eval()
    model.backbone.features[3] = Rolled()
    with pytest.raises(ConfigError, match="layer=c2: what its units see cannot be followed"):
        seen_by(model, "c2", (96, 96))

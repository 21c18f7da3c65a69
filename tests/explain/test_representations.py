"""What a network makes of a picture, by name, and where the cells of its maps lie."""

import pytest
import torch
from torch import nn

from visionkit.backbones import resnet, squeezenet
from visionkit.backbones.cifar_resnet import CifarResNet
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.lenet import lenet_relu
from visionkit.backbones.p4_cnn import p4_cnn
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError
from visionkit.explain.representations import map_grids, representations, trunk_stages
from visionkit.models.build import classifier
from visionkit.structures import Batch


def small_vgg():
    return VGG((1, 1, 1, 1, 1), widths=(4, 4, 4, 4, 4), hidden=8, window=1)


@torch.no_grad()
def test_they_are_the_networks_own():
    net = CifarResNet(8)
    model = classifier(net, 5).eval()
    images = torch.randn(2, 3, 32, 32)
    found = representations(model, images)
    assert list(found) == ["c0", "c1", "tail", "vector", "probabilities"]
    maps = net(images, ("c0", "c2"))
    torch.testing.assert_close(found["c0"], maps["c0"])
    torch.testing.assert_close(found["tail"], maps["c2"])
    torch.testing.assert_close(found["probabilities"], model.scores(images).softmax(dim=1))
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    zero = torch.zeros(1, dtype=torch.int64)
    batch = Batch(pixels, torch.tensor([[32, 32]]), zero, zero)
    torch.testing.assert_close(representations(model, model.normalize(batch))["vector"], model.features(batch))


@torch.no_grad()
def test_of_other_models():
    images = torch.randn(1, 3, 32, 32)
    assert list(representations(CifarResNet(8).eval(), images)) == ["c0", "c1", "tail", "vector"], "no classes"
    assert list(representations(CifarResNet(8).eval(), images, ["c1"])) == ["c1", "tail", "vector"]
    names = list(representations(classifier(small_vgg(), 3).eval(), images))
    assert names[-2:] == ["vector", "probabilities"] and "tail" not in names, "fully connected"
    pyramid = build_fpn(lambda **_: resnet.ResNet(resnet.BasicBlock, (1, 1, 1, 1), (4, 4, 8, 8)), channels=4)
    found = representations(classifier(pyramid, 3).eval(), torch.randn(1, 3, 64, 64))
    assert list(found)[:1] == ["p2"] and list(found)[-2:] == ["vector", "probabilities"]


def test_an_unknown_stage():
    with pytest.raises(ConfigError, match="no c9.*c0, c1"):
        representations(CifarResNet(8), torch.zeros(1, 3, 32, 32), ["c9"])


def test_where_cells_lie():
    first = {"y": 0.5, "x": 0.5}
    grids = map_grids(resnet.ResNet(resnet.BasicBlock, (1, 1, 1, 1), (4, 4, 4, 4)), (64, 64))
    assert {name: grid.step_y for name, grid in grids.items()} == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "tail": 32}
    assert all(grid._asdict() | first == grid._asdict() for grid in grids.values()), "at every second pixel's middle"
    assert map_grids(small_vgg(), (32, 32))["pool3"][:2] == (4.0, 4.0), "pools of 2 x 2 see what lies between"
    assert map_grids(squeezenet.squeezenet1_1(), (64, 64))["c1"].y == 1.5, "unpadded"
    grids = map_grids(p4_cnn(), (32, 32))
    assert (
        grids["tail"] == (2.0, 2.0, 4.0, 4.0) and lenet_relu().paths and "tail" not in map_grids(lenet_relu(), (32, 32))
    )


@pytest.mark.parametrize(
    "make", [lambda: resnet.ResNet(resnet.BasicBlock, (1, 1, 1, 1), (4, 4, 4, 4)), small_vgg, p4_cnn]
)
def test_a_dot_is_found_where_the_grid_has_it(make):
    """The middle of what a cell's gradient reaches, in a network whose weights are all alike."""
    net = make().eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d) or hasattr(module, "weight") and module.weight.ndim >= 4:
            nn.init.constant_(module.weight, 0.01)
        if isinstance(module, nn.MaxPool2d):
            module.forward = lambda x, m=module: nn.functional.avg_pool2d(x, m.kernel_size, m.stride, m.padding)
    side = 160
    stage = trunk_stages(net)[-1]
    grid = map_grids(net, (side, side))[stage]
    images = torch.ones(1, len(net.mean), side, side, requires_grad=True)
    maps = net(images, (stage,))[stage]
    i, j = maps.shape[2] // 2, maps.shape[3] // 2
    maps[0, :, i, j].sum().backward()
    weight = images.grad[0].abs().sum(dim=0)  # (H, W)
    places = torch.arange(side) + 0.5
    y, x = ((weight.sum(dim=d) * places).sum() / weight.sum() for d in (1, 0))
    assert float(y) == pytest.approx(grid.y + i * grid.step_y, abs=0.05)
    assert float(x) == pytest.approx(grid.x + j * grid.step_x, abs=0.05)


def test_operations_that_are_not_followed_are_taken_to_fill_the_picture():
    class Rolled(CifarResNet):
        def forward(self, images, names):
            return {name: maps.roll(1, 3) for name, maps in super().forward(images, names).items()}

    assert map_grids(Rolled(8), (32, 32))["c1"] == (1.0, 1.0, 2.0, 2.0)

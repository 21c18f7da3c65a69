import pytest
import torch
from torch import nn

from visionkit.backbones import cifar_resnet, preact_resnet, resnet, resnext, se_resnet
from visionkit.backbones.contract import assert_compiles, assert_is_backbone
from visionkit.backbones.drop_path import DropPath, drop_path, linear_rule
from visionkit.errors import ConfigError

BUILDERS = (
    resnet.resnet18,
    resnet.resnet50,
    resnet.basic_resnet,
    resnext.resnext50_32x4d,
    se_resnet.se_resnet18,
    cifar_resnet.resnet20,
    preact_resnet.preact_resnet20,
    preact_resnet.preact_resnet164,
    preact_resnet.wide_resnet16_4,
)


def rates(net: nn.Module) -> list[float]:
    return [module.probability for module in net.modules() if isinstance(module, DropPath)]


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 5)])
def test_a_sample_is_zero_or_scaled_up(shape):
    x = torch.rand(shape) + 1
    y = DropPath(0.25)(x)
    for before, after in zip(x, y, strict=True):
        if after.any():
            torch.testing.assert_close(after, before / 0.75)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_the_expectation_is_preserved(probability):
    x = torch.ones(20_000, 2, 1, 1)
    y = DropPath(probability)(x)
    assert y.mean().item() == pytest.approx(1, abs=0.05)
    assert (y[:, 0] == y[:, 1]).all(), "a sample is dropped as a whole"
    assert (y == 0).double().mean().item() == pytest.approx(probability, abs=0.02)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_equals_torchvisions_draw_for_draw(probability):
    from torchvision.ops import StochasticDepth

    x = torch.randn(64, 3, 2, 2)
    torch.manual_seed(5)
    found = DropPath(probability)(x)
    torch.manual_seed(5)
    assert torch.equal(found, StochasticDepth(probability, "row")(x))


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_evaluation_is_the_identity(probability):
    x = torch.randn(4, 3, 2, 2)
    assert DropPath(probability).eval()(x) is x


def test_a_dropped_branch_has_a_gradient_of_zero():
    x = torch.randn(4, 3, 2, 2, requires_grad=True)
    DropPath(1.0)(x).sum().backward()
    assert x.grad is not None and not x.grad.any()


def test_nothing_is_dropped_by_nothing():
    assert isinstance(drop_path(0.0), nn.Identity)
    assert isinstance(drop_path(0.1), DropPath)


def test_the_linear_rule():
    assert linear_rule(0.5, (2, 3)) == [[0.1, 0.2], [pytest.approx(0.3), 0.4, 0.5]]  # eq. 4: 1 - p_l = l / L * 0.5
    assert linear_rule(0.0, (1, 2)) == [[0.0], [0.0, 0.0]]
    fifty_four = [rate for group in linear_rule(0.5, (18, 18, 18)) for rate in group]  # sec. 3: ResNet-110 on CIFAR
    assert sum(1 - rate for rate in fifty_four) == pytest.approx(40, abs=0.5)  # "E(L) is approximately 40"


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_no_probability(value):
    for refused in (
        lambda: drop_path(value),
        lambda: linear_rule(value, (2,)),
        lambda: resnet.resnet18(drop_path=value),
    ):
        with pytest.raises(ConfigError, match=f"from 0 to 1, not {value}"):
            refused()


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_every_block_of_a_network_has_its_rate(build):
    with torch.device("meta"):
        net, without = build(drop_path=0.4), build()
    found = rates(net)
    blocks = sum(
        isinstance(module, nn.Identity | DropPath) for n, module in net.named_modules() if n.endswith("drop_path")
    )
    assert found == pytest.approx([0.4 * (i + 1) / blocks for i in range(blocks)])
    assert blocks > 2 and rates(without) == []
    assert list(net.state_dict()) == list(without.state_dict())


@pytest.mark.parametrize(
    "build",
    [resnet.basic_resnet, cifar_resnet.resnet20, preact_resnet.preact_resnet20],
    ids=lambda build: build.__name__,
)
def test_only_training_drops(build):
    net, without = build(drop_path=0.9), build()
    without.load_state_dict(net.state_dict())
    assert_is_backbone(net)
    images, names = torch.rand(4, 3, 32, 32), tuple(net.stages)[-1:]
    expected = without.eval()(images, names)
    torch.testing.assert_close(net.eval()(images, names), expected)
    net.train()
    assert not torch.equal(net(images, names)[names[0]], net(images, names)[names[0]])
    assert_compiles(net, (32, 32))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_network_with_all_branches_dropped_is_its_shortcuts(norm):
    net = cifar_resnet.CifarResNet(8, norm, drop_path=1.0)
    for block in net.layer1:
        block.drop_path = DropPath(1.0)
    x = torch.rand(2, 16, 8, 8)
    torch.testing.assert_close(net.layer1.train()(x), x)

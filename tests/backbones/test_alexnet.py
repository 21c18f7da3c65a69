import pytest
import torch
from torch import nn

from tests.backbones.torchvision_parity import assert_equals_torchvision
from visionkit.backbones import alexnet
from visionkit.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.norms import local_response_norm
from visionkit.errors import ConfigError


def narrow(norm: str = "none", **options) -> alexnet.AlexNet:
    blocks = alexnet.alexnet_blocks((8, 8, 16, 16, 16), norm, **options)
    return alexnet.AlexNet(blocks, 63 if options.get("pad") else 67, hidden=(20, 24))


def whole_size(net: alexnet.AlexNet) -> int:
    return sum(p.numel() for module in (net, net.new_classifier(1000)) for p in module.parameters())


def test_equals_torchvision(tmp_path):
    from torchvision import models

    with torch.device("meta"):  # no time for initial weights that are overwritten at once
        ours, theirs = alexnet.alexnet(), models.get_model("alexnet", weights=None)
    assert_equals_torchvision(ours.to_empty(device="cpu"), theirs.to_empty(device="cpu"), tmp_path, size=95)


def test_keys_and_shapes_are_torchvisions():
    from torchvision import models

    with torch.device("meta"):
        ours, theirs = alexnet.alexnet(), models.get_model("alexnet", weights=None)
        assert whole_size(ours) == 61_100_840
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("classifier.6.")}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    layers = [(type(layer), str(layer)) for layer in theirs.features]
    assert [(type(layer), str(layer)) for layer in ours.features] == layers
    assert [str(layer) for layer in ours.classifier] == [str(layer) for layer in theirs.classifier[:-1]]


def test_the_papers_network():
    with torch.device("meta"):
        net = alexnet.alexnet_2012()
        maps = net(torch.rand(1, 3, 227, 227), tuple(net.stages))
        assert [tuple(m.shape[1:]) for m in maps.values()] == [
            (96, 55, 55),
            (256, 27, 27),
            (384, 13, 13),
            (384, 13, 13),
            (256, 13, 13),
            (256, 6, 6),
        ]
        assert net.features[0].weight.numel() == 34_848
        # Fig. 2, neurons of the layers; the paper's 253,440 for the first fits no input size.
        assert [m.numel() for m in list(maps.values())[1:5]] == [186_624, 64_896, 64_896, 43_264]
        assert whole_size(net) == 60_965_224  # "60 million parameters"; Caffe's AlexNet has as many
        assert whole_size(alexnet.alexnet_2012(two_stream=False)) == 62_378_344


def test_local_response_norm_is_the_papers_formula():
    x = torch.randn(2, 9, 3, 4) * 100  # large, so that the norm does something
    found = local_response_norm()(x)
    for i in range(9):
        near = x[:, max(0, i - 2) : min(9, i + 3)]  # the sum of sec. 3.3, n = 5
        expected = x[:, i] / (2 + 1e-4 * near.square().sum(dim=1)) ** 0.75
        torch.testing.assert_close(found[:, i], expected)
    assert not torch.allclose(nn.LocalResponseNorm(5, 1e-4, 0.75, 2)(x), found, rtol=0.05)


def test_where_the_paper_normalises_and_splits():
    with torch.device("meta"):
        net, one = alexnet.alexnet_2012(), alexnet.alexnet_2012(two_stream=False)
    kinds = [type(layer) for layer in net.features]
    first = [nn.Conv2d, nn.ReLU, nn.LocalResponseNorm, nn.MaxPool2d]
    assert kinds == 2 * first + 3 * [nn.Conv2d, nn.ReLU] + [nn.MaxPool2d]
    assert [layer.groups for layer in net.features if isinstance(layer, nn.Conv2d)] == [1, 2, 1, 2, 2]
    assert {layer.groups for layer in one.features if isinstance(layer, nn.Conv2d)} == {1}
    assert [type(layer) for layer in net.classifier] == 2 * [nn.Linear, nn.ReLU, nn.Dropout]


@torch.no_grad()
def test_a_stream_sees_its_half():
    net = narrow(groups=2).eval()
    conv2 = net.features[3]
    x = torch.rand(1, 8, 9, 9)
    other = torch.cat([x[:, :4], torch.rand(1, 4, 9, 9)], dim=1)
    assert torch.equal(conv2(x)[:, :4], conv2(other)[:, :4])
    assert not torch.allclose(conv2(x)[:, 4:], conv2(other)[:, 4:])


def test_the_papers_initial_weights(monkeypatch):
    small = alexnet.alexnet_blocks((16, 16, 32, 32, 16), "none", groups=2, lrn=True)
    monkeypatch.setattr(alexnet, "alexnet_blocks", lambda *args, **kwargs: small)  # 61 million draws take seconds
    net = alexnet.alexnet_2012()
    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 7
    for layer in layers:
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert [layer.bias.unique().tolist() for layer in layers] == [[0], [1], [0], [1], [1], [1], [1]]  # sec. 5
    head = net.new_classifier(100).linear
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not head.bias.any()
    assert (net.mean, net.std) == (IMAGENET_MEAN, IMAGENET_STD)  # of the images, not of the weights


def test_the_wide_one_with_batch_norm():
    with torch.device("meta"):
        net = alexnet.alexnet_bn()
        maps = net(torch.rand(2, 3, 227, 227), tuple(net.stages))
        vectors = net.tail(net.pool(maps["c4"]))
    assert [m.shape[1] for m in maps.values()] == [96, 256, 512, 1024, 1024, 1024]
    assert vectors.shape == (2, 4096)
    assert net.classifier[0].out_features == 3072
    kinds = [type(layer) for layer in net.features if not isinstance(layer, nn.MaxPool2d)]
    assert kinds == 5 * [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert not net.weights_url


@pytest.mark.parametrize("norm", ["none", "batch", "frozen", "group"])
def test_contract_of_a_narrow_one(norm):
    assert_is_backbone(narrow(norm, groups=2, lrn=True))
    assert_is_backbone(narrow(norm, pad=2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "alexnet_2012", "alexnet_bn"])
def test_contract(name):
    assert_is_backbone(getattr(alexnet, name)())


@pytest.mark.parametrize("options", [{"pad": 2}, {"lrn": True, "groups": 2}])
def test_one_pixel_less_than_the_least_is_too_few(options):
    net = narrow(**options)
    side, net.min_size = net.min_size - 1, 1
    with pytest.raises(RuntimeError, match="too small|smaller than"):
        net(torch.rand(1, 3, side, side), ("c5",))


@torch.no_grad()
def test_c5_is_what_the_tail_takes():
    net = narrow().eval()
    maps = net(torch.rand(1, 3, 227, 227), ("c4", "c5"))
    torch.testing.assert_close(net.pool(maps["c4"]), maps["c5"])


def test_compiles_and_exports():
    net = narrow(groups=2, lrn=True)
    assert_compiles(net, (80, 96))
    assert_exports(net, (80, 96))


def test_drop_tail_for_a_pyramid():
    net = narrow(lrn=True).eval()
    images = torch.rand(1, 3, 96, 96)
    names = ("c2", "c3", "c4")
    before = net(images, names)
    net.drop_tail(names)
    torch.testing.assert_close(net(images, names), before)
    assert not any(key.startswith("classifier.") for key in net.state_dict())


def test_bad_input():
    with pytest.raises(ConfigError, match="norm must be one of batch, frozen, group, none, not 'layer'"):
        alexnet.alexnet(norm="layer")
    with pytest.raises(ConfigError, match="no ImageNet weights are published"), torch.device("meta"):
        alexnet.alexnet_2012(weights="imagenet")

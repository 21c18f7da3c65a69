import pytest
import torch
from torch import nn

from tests.backbones.torchvision_parity import assert_equals_torchvision, logits_of, relative
from visionkit.backbones import squeezenet
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.pretrained import load_weights
from visionkit.errors import ConfigError

SIZES = {"squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496}


@pytest.mark.parametrize("name", SIZES)
def test_equals_torchvision(name, tmp_path):
    from torchvision import models

    ours = getattr(squeezenet, name)()
    assert_equals_torchvision(ours, models.get_model(name, weights=None), tmp_path, size=64)


@pytest.mark.parametrize("name", SIZES)
def test_keys_and_shapes_are_torchvisions(name):
    from torchvision import models

    with torch.device("meta"):
        ours, theirs = getattr(squeezenet, name)(), models.get_model(name, weights=None)
        head = ours.new_classifier(1000)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("classifier.")}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert sum(p.numel() for module in (ours, head) for p in module.parameters()) == SIZES[name]


@torch.no_grad()
def test_published_weights_give_torchvisions_logits(weights_root):
    from torchvision import models

    file = weights_root / "squeezenet1_0_imagenet.pth"
    ours = squeezenet.squeezenet1_0().eval()
    head = ours.new_classifier(1000).eval()
    report = load_weights(ours, file, head)
    assert not report.unused
    theirs = models.get_model("squeezenet1_0", weights=None).eval()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    images = torch.randn(2, 3, 224, 256)
    found, expected = logits_of(ours, head, images), theirs(images)
    assert expected.std() > 1
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("name", SIZES)
def test_maps_of_an_image_of_224(name):
    with torch.device("meta"):
        net = getattr(squeezenet, name)()
        maps = net(torch.rand(1, 3, 224, 224), tuple(net.stages))
    sides = [109, 54, 27, 13] if name == "squeezenet1_0" else [111, 55, 27, 13]
    assert [m.shape[2] for m in maps.values()] == sides
    assert maps["c4"].shape[1] == net.out_channels == 512


@pytest.mark.parametrize("name", SIZES)
def test_contract(name):
    assert_is_backbone(getattr(squeezenet, name)())


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_contract_with_every_norm(norm):
    net = squeezenet.squeezenet1_1(norm=norm)
    assert not net.weights_url
    # A group norm here has one or two channels a group, and knows nothing of a map with few cells but noise.
    assert_is_backbone(net, sizes=((96, 112), (107, 101)) if norm == "group" else None)


@pytest.mark.parametrize("name", SIZES)
def test_one_pixel_less_than_the_least_is_too_few(name):
    net = getattr(squeezenet, name)()
    side, net.min_size = net.min_size - 1, 1
    with pytest.raises(RuntimeError, match="too small"):
        net(torch.rand(1, 3, side, side), ("c4",))


def test_compiles_and_exports():
    assert_compiles(squeezenet.squeezenet1_1())
    assert_exports(squeezenet.squeezenet1_1())


def test_a_norm_follows_every_convolution():
    with torch.device("meta"):
        net = squeezenet.squeezenet1_0(norm="batch")
    convs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(convs) == len(norms) == 25
    assert [conv.out_channels for conv in convs] == [norm.num_features for norm in norms]
    assert all(conv.bias is None for conv in convs)


def test_initial_weights_and_dropout():
    net = squeezenet.squeezenet1_1(dropout=0.25)
    expand = net.features[-1].expand3x3.weight  # (256, 64, 3, 3)
    assert expand.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)
    head = net.new_classifier(100)
    assert head.dropout.p == 0.25
    assert head.conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert squeezenet.squeezenet1_1(dropout=0.0).new_classifier(3)(torch.rand(2, 512, 3, 3)).shape == (2, 3)


def test_an_unknown_norm():
    with pytest.raises(ConfigError, match="norm must be one of batch, frozen, group, none, not 'layer'"):
        squeezenet.squeezenet1_0(norm="layer")

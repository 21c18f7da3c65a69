import pytest
import torch
from torch import nn

from tests.backbones.torchvision_parity import assert_equals_torchvision
from visionkit.backbones import densenet
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.densenet import DenseNet
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.pretrained import initialise, load_weights
from visionkit.errors import ConfigError

NAMES = ("densenet121", "densenet161", "densenet169", "densenet201")
PARAMETERS = {"densenet121": 7_978_856, "densenet161": 28_681_000, "densenet169": 14_149_480, "densenet201": 20_013_928}


def narrow(weights: str | None = None, norm: str = "batch", dropout: float = 0.0) -> DenseNet:
    return initialise(DenseNet(16, (1, 2, 2, 1), 16, norm, dropout), weights)


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_shapes_are_torchvisions(name):
    from torchvision import models

    with torch.device("meta"):
        ours, theirs = getattr(densenet, name)(), models.get_model(name, weights=None)
        classifier = ours.new_classifier(1000)
    found = {key: value.shape for key, value in ours.state_dict().items()}
    published = {key: value.shape for key, value in theirs.state_dict().items()}
    assert published.pop("classifier.weight") == classifier.linear.weight.shape
    assert published.pop("classifier.bias") == classifier.linear.bias.shape
    assert list(found) == list(published)
    assert found == published
    assert sum(p.numel() for net in (ours, classifier) for p in net.parameters()) == PARAMETERS[name]


def test_logits_and_gradients_equal_torchvisions(tmp_path):
    from torchvision import models

    theirs = models.get_model("densenet121", weights=None)
    assert_equals_torchvision(densenet.densenet121(), theirs, tmp_path, size=64)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract_of_a_narrow_one(norm):
    assert_is_backbone(narrow(norm=norm, dropout=0.2))


def test_contract():
    net = densenet.densenet121()
    assert [tuple(stage) for stage in net.stages.values()] == [(64, 2), (256, 4), (512, 8), (1024, 16), (1024, 32)]
    assert_is_backbone(net, sizes=((64, 96),))


def test_compiles_and_exports():
    assert_compiles(narrow())
    assert_exports(narrow())


def test_least_size():
    net = narrow().eval()
    net.min_size = 1
    c4 = net(torch.rand(1, 3, 29, 29), ("c4",))["c4"]
    assert net.tail_maps(c4).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError):  # nothing is left for block 4
        net.tail_maps(net(torch.rand(1, 3, 28, 28), ("c4",))["c4"])


def test_an_image_of_224_has_one_window():
    with torch.device("meta"):
        net = narrow()
        assert net(torch.rand(1, 3, 224, 224), ("c4",))["c4"].shape[2:] == (net.window, net.window)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_maps_are_not_written_over(norm):
    """Without a norm a ReLU in place would change the stage before it."""
    net = narrow(norm=norm).eval()
    images = torch.rand(1, 3, 64, 64) - 0.5
    everything = net(images, tuple(net.stages))
    assert (everything["c4"] < 0).any(), "before any ReLU"
    windows = everything["c4"].clone()
    net.tail(everything["c4"])
    assert torch.equal(everything["c4"], windows)
    assert torch.equal(everything["c3"], net(images, ("c3",))["c3"])


def test_each_layer_sees_all_maps_before_it():
    block = DenseNet(8, (3, 1, 1, 1), 8).features.denseblock1.eval()
    x = torch.rand(1, 8, 5, 5)
    y = block(x)
    assert y.shape == (1, 8 + 3 * 8, 5, 5)
    assert torch.equal(y[:, :8], x)
    torch.testing.assert_close(y[:, 24:], block["denselayer3"](y[:, :24]))


def test_published_files_have_older_keys(tmp_path):
    net = narrow()
    state = net.state_dict() | {"classifier.weight": torch.rand(3, net.out_channels), "classifier.bias": torch.rand(3)}
    old = {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in state.items()}
    for number in "12":
        for layer in ("norm", "conv"):
            old = {
                key.replace(f"{layer}{number}.", f"{layer}.{number}.") if "denselayer" in key else key: value
                for key, value in old.items()
            }
    assert "features.denseblock2.denselayer2.norm.1.running_mean" in old
    assert "features.norm5.weight" in old
    torch.save(old, tmp_path / "old.pth")
    classifier = net.new_classifier(3)
    report = load_weights(net, tmp_path / "old.pth", classifier)
    assert not report.unused
    layer = net.features.denseblock2.denselayer2
    assert torch.equal(layer.norm1.running_mean, old["features.denseblock2.denselayer2.norm.1.running_mean"])
    assert torch.equal(layer.conv2.weight, old["features.denseblock2.denselayer2.conv.2.weight"])
    assert torch.equal(net.features.transition1.conv.weight, old["features.transition1.conv.weight"])
    assert torch.equal(classifier.linear.weight, old["classifier.weight"])
    del old["features.denseblock2.denselayer2.conv.2.weight"]
    torch.save(old, tmp_path / "broken.pth")
    with pytest.raises(ConfigError, match=r"needs features\.denseblock2\.denselayer2\.conv2\.weight"):
        load_weights(net, tmp_path / "broken.pth")


def test_dropout_after_each_layer():
    net = narrow(dropout=0.5)
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in net.modules()) == 6


def test_feature_pyramid():
    net = build_fpn(narrow, names=("c2", "c3", "c4", "c5"), channels=8, hidden=16)
    assert_is_backbone(net)
    net = build_fpn(narrow, names=("c2", "c3"), channels=8, hidden=16)
    assert not any("denseblock3" in key or "norm5" in key for key in net.state_dict())
    assert_is_backbone(net)


def test_unknown_norm():
    with pytest.raises(ConfigError, match="norm must be one of batch, frozen, group, none, not 'layer'"):
        densenet.densenet121(norm="layer")

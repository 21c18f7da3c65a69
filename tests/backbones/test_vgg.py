import pytest
import torch
from torch import nn

from visionkit.backbones import vgg
from visionkit.backbones.contract import assert_is_backbone
from visionkit.errors import ConfigError

DEPTHS = ("vgg11", "vgg13", "vgg16", "vgg19")
NAMES = (*DEPTHS, *(f"{name}_bn" for name in DEPTHS))


def narrow(norm: str = "none") -> vgg.VGG:
    return vgg.VGG((1, 1, 2, 2, 2), norm=norm, widths=(8, 8, 16, 16, 16), hidden=24)


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_shapes_are_torchvisions(name):
    from torchvision import models

    with torch.device("meta"):
        ours, theirs = getattr(vgg, name)(), models.get_model(name, weights=None)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith("classifier.6.")}
    found = {key: value.shape for key, value in ours.state_dict().items()}
    assert list(found) == list(expected)
    assert found == expected


@torch.no_grad()
@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_logits_equal_torchvisions(name):
    from torchvision import models

    with torch.device("meta"):
        ours = getattr(vgg, name)()
        classifier = ours.new_classifier(1000)
        theirs = models.get_model(name, weights=None).eval()
    theirs = theirs.to_empty(device="cpu")
    for tensor in theirs.state_dict().values():  # variance kept from layer to layer, biases and statistics not trivial
        if tensor.ndim > 1:
            nn.init.uniform_(tensor, -1, 1).mul_((6 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.9, 1.1)
    state = theirs.state_dict()
    fc = {key: state.pop(f"classifier.6.{key}") for key in ("weight", "bias")}
    classifier.linear.load_state_dict(fc, assign=True)
    ours.load_state_dict(state, assign=True)  # the same memory: a VGG has half a gigabyte
    images = torch.rand(1, 3, 224, 224)
    windows = ours.eval().pool(ours(images, ("c5",))["c5"])
    assert windows.shape == (1, 512, 7, 7)
    expected = theirs(images)
    assert 0.01 < expected.std() < 1000
    torch.testing.assert_close(classifier(ours.tail_maps(windows)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["none", "batch", "frozen", "group"])
def test_contract_of_a_narrow_one(norm):
    assert_is_backbone(narrow(norm))


@pytest.mark.parametrize("window", [2, 3, 4])
def test_contract_of_other_windows(window):
    net = vgg.VGG((1, 1, 1, 1, 1), widths=(8, 8, 8, 16, 16), hidden=24, window=window)
    assert net.resolution == 32 * window and net.dense_window == 2 * window
    assert_is_backbone(net)
    region_map = net(torch.zeros(1, 3, net.resolution, net.resolution), ("c5",))["c5"]
    assert net.pool(region_map).shape[-1] == net.window


def test_the_narrow_one_is_a_quarter_as_wide_and_starts_with_a_signal():
    torch.manual_seed(0)
    net, full = vgg.vgg11_bn_narrow(), vgg.VGG((1, 1, 2, 2, 2), "batch", widths=vgg.WIDTHS, hidden=8, window=1)
    assert [s.channels * 4 for s in net.stages.values()] == [s.channels for s in full.stages.values()]
    assert list(net.state_dict()) == list(full.state_dict())
    vectors = net.eval().tail(net.pool(net(torch.randn(4, 3, 96, 96), ("c5",))["c5"]))
    assert vectors.shape == (4, 256) and 0.1 < vectors.std() < 10, "fc6 and fc7 neither fade nor explode"
    with pytest.raises(ConfigError, match="published"):
        vgg.vgg11_bn_narrow(weights="imagenet")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    assert_is_backbone(getattr(vgg, name)())


@pytest.mark.parametrize("depth", DEPTHS)
def test_stages_of_every_depth_on_small_images(depth):
    with torch.device("meta"):
        net = getattr(vgg, depth)()
        maps = net(torch.rand(1, 3, 64, 64), tuple(net.stages))
    for name, stage in net.stages.items():
        assert maps[name].shape == (1, stage.channels, 64 // stage.stride, 64 // stage.stride)
    assert isinstance(net.parts()["pool5"][0], nn.MaxPool2d)


def test_pools_follow_their_stages():
    net = narrow().eval()
    maps = net(torch.rand(1, 3, 64, 64), tuple(net.stages))
    for level in range(1, 6):
        torch.testing.assert_close(nn.functional.max_pool2d(maps[f"c{level}"], 2), maps[f"pool{level}"])


@pytest.mark.parametrize(("name", "size"), [("vgg11_lrn", 132_863_336), ("vgg16_c", 133_638_952)])
def test_parameters_of_the_columns_torchvision_lacks(name, size):
    """Table 2 of the paper, in millions: A and A-LRN 133, C 134."""
    with torch.device("meta"):
        net = getattr(vgg, name)()
        head = net.new_classifier(1000)
    assert sum(p.numel() for module in (net, head) for p in module.parameters()) == size
    assert not net.weights_url


@torch.no_grad()
def test_column_a_lrn_normalises_after_the_first_relu():
    net = vgg.VGG((1, 1, 2, 2, 2), widths=(8, 8, 16, 16, 16), hidden=24, lrn=True).eval()
    assert [i for i, layer in enumerate(net.features) if isinstance(layer, nn.LocalResponseNorm)] == [2]
    images = 200 * torch.randn(1, 3, 40, 40)
    x = net.features[0](images).relu()
    found = net(images, ("c1",))["c1"]
    for i in range(8):  # the parameters of AlexNet (sec. 2.1 of VGG)
        energy = x[:, max(0, i - 2) : i + 3].square().sum(dim=1)
        torch.testing.assert_close(found[:, i], x[:, i] / (2 + 1e-4 * energy) ** 0.75)
    assert (found < 0.9 * x).any()


def test_column_c_has_a_1x1_as_the_third_of_its_last_blocks():
    with torch.device("meta"):
        net = vgg.vgg16_c()
    sizes = [layer.kernel_size[0] for layer in net.features if isinstance(layer, nn.Conv2d)]
    assert sizes == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]


@pytest.mark.parametrize(
    "column", [{"depths": (1, 1, 2, 2, 2), "lrn": True}, {"depths": (2, 2, 3, 3, 3), "pointwise": True}]
)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_contract_of_the_columns_torchvision_lacks(column, norm):
    assert_is_backbone(vgg.VGG(norm=norm, widths=(8, 8, 16, 16, 16), hidden=24, **column))


def test_initial_weights():
    net = narrow()
    assert net.new_classifier(4).linear.weight.abs().max() < 0.1
    assert net.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not net.classifier[0].bias.any()


def test_drop_tail_leaves_what_the_names_need():
    net = narrow().eval()
    images = torch.rand(1, 3, 64, 64)
    before = net(images, ("c3", "c4"))
    net.drop_tail(("c3", "c4"))
    assert list(net.stages)[-1] == "c4"
    assert not any(key.startswith("classifier.") for key in net.state_dict())
    torch.testing.assert_close(net(images, ("c3", "c4")), before)
    maps = net(images, ("c4",))["c4"]
    maps.sum().backward()
    assert all(p.grad is not None for p in net.parameters())

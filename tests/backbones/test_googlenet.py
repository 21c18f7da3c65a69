import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.backbones.torchvision_parity import assert_equals_torchvision, lively_, logits_of, relative
from visionkit.backbones import imagenet
from visionkit.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from visionkit.backbones.box_tails import TwoLayerTail
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.fpn import FPN
from visionkit.backbones.googlenet import OverlappingMeans, googlenet, googlenet_2014
from visionkit.backbones.pretrained import load_weights
from visionkit.errors import ConfigError

MODULES = tuple(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"))


def torchvision_net(**kwargs) -> nn.Module:
    from torchvision import models

    return models.get_model("googlenet", weights=None, init_weights=False, **kwargs)


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def multiply_adds(net) -> int:
    """Of a 224 x 224 image, classifier included."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        logits_of(net.eval(), net.new_classifier(1000).eval(), torch.empty(1, 3, 224, 224))
    return counter.get_total_flops() // 2  # it counts two per multiply-add


def test_keys_and_shapes_are_torchvisions():
    with torch.device("meta"):
        ours, theirs = googlenet(), torchvision_net()
        aux = ours.new_aux_classifiers(1000)
        own = parameters(ours, ours.new_classifier(1000))
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    found = {key: value.shape for key, value in ours.state_dict().items()}
    for published, own_prefix in ours.aux_keys.items():
        head = aux[own_prefix.rstrip(".")].state_dict()
        found |= {published + key: value.shape for key, value in head.items()}
    assert list(found) == [key for key in expected if not key.startswith("fc.")]
    assert found == {key: shape for key, shape in expected.items() if not key.startswith("fc.")}
    assert own == 6_624_904  # torchvision's metadata; without the auxiliary heads
    assert round(multiply_adds(ours) / 1e9, 3) == 1.498


def test_logits_and_gradients_equal_torchvisions(tmp_path):
    assert_equals_torchvision(googlenet(), torchvision_net(), tmp_path, size=64)


@torch.no_grad()
def test_aux_logits_equal_torchvisions(tmp_path):
    theirs = lively_(torchvision_net()).eval()
    theirs.training = True  # of the outermost only: it gives the auxiliary logits, all layers stay in eval mode
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = googlenet().eval()
    heads = ours.new_aux_classifiers(1000).eval()
    load_weights(ours, tmp_path / "theirs.pth", aux_classifiers=heads)
    images = torch.rand(1, 3, 160, 128)
    expected = theirs(images)
    maps = ours(images, tuple(heads))
    assert relative(heads["inception4a"](maps["inception4a"]), expected.aux_logits1) < 1e-5
    assert relative(heads["inception4d"](maps["inception4d"]), expected.aux_logits2) < 1e-5
    assert relative(heads["inception4a"](maps["inception4a"]), expected.aux_logits2) > 0.1


@torch.no_grad()
def test_our_mean_and_std_are_torchvisions_input_transform(tmp_path):
    """The same pixels, each network with its own normalisation: torchvision's published one undoes its own inside."""
    theirs = lively_(torchvision_net(transform_input=True, aux_logits=False)).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = googlenet().eval()
    classifier = ours.new_classifier(1000).eval()
    load_weights(ours, tmp_path / "theirs.pth", classifier)
    pixels = torch.rand(2, 3, 64, 64)

    def normalised(mean, std):
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    expected = theirs(normalised(IMAGENET_MEAN, IMAGENET_STD))
    assert relative(logits_of(ours, classifier, normalised(ours.mean, ours.std)), expected) < 1e-5
    assert relative(logits_of(ours, classifier, normalised(IMAGENET_MEAN, IMAGENET_STD)), expected) > 0.01


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
def test_contract(norm):
    assert_is_backbone(googlenet(norm=norm))


@pytest.mark.parametrize("norm", ["none", "group"])
def test_contract_of_the_papers(norm):
    assert_is_backbone(googlenet_2014(norm=norm))


def test_compiles_and_exports():
    assert_compiles(googlenet())
    assert_exports(googlenet())


@torch.no_grad()
@pytest.mark.parametrize("builder", [googlenet, googlenet_2014])
def test_stages_by_level_are_modules_maps(builder):
    net = builder().eval()
    assert tuple(net.stages) == ("c1", "c2", *MODULES[:2], "c3", *MODULES[2:7], "c4", *MODULES[7:], "c5")
    assert [net.stages[name].channels for name in MODULES] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]  # table 1
    maps = net(torch.rand(1, 3, 64, 96), tuple(net.stages))
    for name, last in (("c3", "inception3b"), ("c4", "inception4e"), ("c5", "inception5b")):
        assert torch.equal(maps[name], maps[last])
        assert net.stages[name] == net.stages[last]
    torch.testing.assert_close(net.dense_tail(maps["c4"]), maps["c5"])


def test_window_of_a_224_image():
    for builder in (googlenet, googlenet_2014):
        with torch.device("meta"):
            net = builder()
            maps = net(torch.rand(1, 3, 224, 224), ("c4", "c5"))
        assert maps["c4"].shape == (1, 832, net.window, net.window)
        assert maps["c5"].shape == (1, 1024, 7, 7)


# Table 1's column "params", in thousands, beside the weights that its own filter counts give (without biases).
# It counts in 1024s: then these rows are right, to the last digit or one off. The first row's 2.7K (and 34M
# multiply-adds) fit no 7x7 convolution of 3 to 64 channels, which has 9,408 weights, but a depthwise separable one,
# 3 * 8 * 7 * 7 + 24 * 64 = 2,712: the first inception networks began so (Chollet, "Xception", sec. 2).
RIGHT_ROWS = {"conv3": (112, 114_688), "3a": (159, 163_328), "3b": (380, 388_096), "4b": (437, 448_512)}
# Here the table disagrees with its own filter counts, by 0.7 to 7 %.
WRONG_ROWS = {
    "4a": (364, 375_552),
    "4c": (463, 509_440),
    "4d": (580, 604_672),
    "4e": (840, 867_328),
    "5a": (1072, 1_042_432),
    "5b": (1388, 1_442_816),
}


@pytest.mark.parametrize("row", [*RIGHT_ROWS, *WRONG_ROWS])
def test_weights_of_each_row_of_table_1(row):
    with torch.device("meta"):
        net = googlenet_2014()
    modules = (net.conv2, net.conv3) if row == "conv3" else (net.get_submodule(f"inception{row}"),)
    weights = sum(p.numel() for module in modules for p in module.parameters() if p.ndim == 4)
    printed, expected = (RIGHT_ROWS | WRONG_ROWS)[row]
    assert weights == expected
    distance = abs(weights / 1024 - printed)
    assert distance <= 1 if row in RIGHT_ROWS else 1 < distance < 0.08 * printed


def test_parameters_of_the_papers():
    """7.0M with the classifier, 6.0M without. The column of table 1 adds up to 6,798K = 6.96M, and the "about 5M" of
    the lectures is neither."""
    with torch.device("meta"):
        net = googlenet_2014()
        classifier, aux = net.new_classifier(1000), net.new_aux_classifiers(1000)
    assert parameters(net) == 5_973_552
    assert parameters(classifier) == 1_025_000  # "1000K": 1024 x 1000 weights
    assert parameters(net, classifier) == 6_998_552
    assert [parameters(head) for head in aux.values()] == [3_188_840, 3_190_888]
    # "1.5 billion" in sec. 1, as the table's column: with its cheap first layer, 34M for the 118M of a full 7x7 one.
    assert multiply_adds(net) == 1_582_671_872
    assert round((1_582_671_872 - 118_013_952 + 34e6) / 1e9, 1) == 1.5
    assert not any(isinstance(m, nn.BatchNorm2d) for m in [*net.modules(), *aux.modules()])


def test_22_layers_with_weights_one_after_another():
    with torch.device("meta"):
        net = googlenet_2014()
    longest = [path if "inception" not in path else f"{path}.branch2" for paths in net.paths.values() for path in paths]
    layers = [m for path in longest for m in net.get_submodule(path).modules() if isinstance(m, nn.Conv2d)]
    assert len(layers) + 1 == 22  # the classifier's is the last
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) + 1 == 58


@torch.no_grad()
@pytest.mark.parametrize(
    ("builder", "norm", "least"),
    [(googlenet, "batch", 15), (googlenet, "group", 47), (googlenet_2014, "none", 31), (googlenet_2014, "group", 63)],
)
def test_no_smaller_image_would_do(builder, norm, least):
    net = builder(norm=norm).eval()
    assert net.min_size == least
    net.min_size = 1
    with pytest.raises((RuntimeError, ValueError)):
        net.tail(net(torch.rand(1, 3, least - 1, least - 1), ("c4",))["c4"])


def test_fives_are_five_in_the_papers_and_three_in_torchvisions():
    with torch.device("meta"):
        nets = {3: googlenet(), 5: googlenet_2014()}
    for size, net in nets.items():
        for name in MODULES:
            assert net.get_submodule(f"{name}.branch3.1.conv").kernel_size == (size, size)


@torch.no_grad()
def test_response_norms_stand_after_the_first_pool_and_before_the_second():
    net = googlenet_2014().eval()
    images = torch.randn(1, 3, 64, 64) * 50  # large values: at small ones the norm is nearly a constant
    maps = net(images, ("c1", "c2", "inception3a"))
    x = net.norm1(net.maxpool1(maps["c1"]))
    x = net.norm2(net.conv3(net.conv2(x)))
    torch.testing.assert_close(maps["c2"], x)
    torch.testing.assert_close(maps["inception3a"], net.inception3a(net.maxpool2(x)))
    constant = maps["c1"] * (net.norm1(maps["c1"]).sum() / maps["c1"].sum())
    assert relative(net.norm1(maps["c1"]), constant) > 0.05


@torch.no_grad()
def test_means_of_the_papers_aux_classifiers():
    x = torch.rand(1, 2, 14, 14)
    y = OverlappingMeans()(x)
    for i, j in ((0, 0), (1, 3), (3, 2)):
        torch.testing.assert_close(y[:, :, i, j], x[:, :, 3 * i : 3 * i + 5, 3 * j : 3 * j + 5].mean((2, 3)))
    for side in (1, 5, 6, 20):
        assert OverlappingMeans()(torch.rand(1, 2, side, side + 3)).shape == (1, 2, 4, 4)


@pytest.mark.parametrize("builder", [googlenet, googlenet_2014])
def test_aux_classifiers_train_the_layers_below_them(builder):
    net = builder()
    heads = net.new_aux_classifiers(7)
    assert [head.dropout.p for head in heads.values()] == [0.7, 0.7]
    maps = net(torch.rand(2, 3, 96, 64), tuple(heads))
    logits = {name: heads[name](maps[name]) for name in heads}
    assert [y.shape for y in logits.values()] == [(2, 7), (2, 7)]
    logits["inception4a"].square().sum().backward()
    assert net.conv1.conv.weight.grad.abs().sum() > 0
    assert net.inception4b.branch1.conv.weight.grad is None
    assert all(p.grad is not None for p in heads["inception4a"].parameters())


def test_first_weights_keep_the_signal():
    net = googlenet_2014().eval()
    maps = net(torch.randn(2, 3, 64, 64), ("c1", "c5"))
    assert 0.01 < maps["c5"].detach().std() / maps["c1"].detach().std() < 100
    assert (net.inception5b.branch2[1].conv.bias == 0.2).all()
    assert googlenet().inception3a.branch1.conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not any(m.bias is not None for m in googlenet().modules() if isinstance(m, nn.Conv2d))


def test_dropouts_and_published_weights():
    with torch.device("meta"):
        net, other = googlenet(dropout=0.3, aux_dropout=0.6), googlenet_2014()
    assert net.new_classifier(3).dropout.p == 0.3
    assert net.new_aux_classifiers(3)["inception4d"].dropout.p == 0.6
    assert net.weights_url == imagenet.URLS["googlenet"]
    assert (other.weights_url, other.mean, other.new_classifier(3).dropout.p) == ("", IMAGENET_MEAN, 0.4)


@torch.no_grad()
def test_under_a_neck():
    neck = FPN(googlenet_2014(), ("c2", "c3", "c4"), 16, "pool", tail=TwoLayerTail(16, 7, 24)).eval()
    maps = neck(torch.rand(1, 3, 64, 64), ("p2", "p4"))
    assert [tuple(y.shape) for y in maps.values()] == [(1, 16, 16, 16), (1, 16, 4, 4)]
    assert not any("inception5" in name for name, _ in neck.named_parameters())


@pytest.mark.parametrize("builder", [googlenet, googlenet_2014])
def test_unknown_norm(builder):
    with pytest.raises(ConfigError, match="batch, frozen, group, none, not 'layer'"):
        builder(norm="layer")

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.backbones.torchvision_parity import logits_of
from visionkit.backbones import cifar_resnet
from visionkit.backbones.cifar_resnet import CifarBlock, CifarResNet
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.pretrained import load_weights
from visionkit.errors import ConfigError

DEPTHS = (20, 32, 44, 56, 110)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group", "none"])
@pytest.mark.parametrize("shortcuts", [True, False])
def test_contract(norm, shortcuts):
    assert_is_backbone(CifarResNet(8, norm, shortcuts))


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_contract_of_the_smallest(name):
    net = getattr(cifar_resnet, name)()
    assert [tuple(stage) for stage in net.stages.values()] == [(16, 1), (32, 2), (64, 4)]
    assert_is_backbone(net)


def test_graphs():
    assert_compiles(CifarResNet(8), (32, 32))
    assert_exports(CifarResNet(8), (32, 32))


@pytest.mark.parametrize(
    ("depth", "exact", "paper"),  # millions in table 6; its 110 layers are 1.7M
    [(20, 269_722, 0.27), (32, 464_154, 0.46), (44, 658_586, 0.66), (56, 853_018, 0.85), (110, 1_727_962, 1.7)],
)
@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_parameter_counts(kind, depth, exact, paper):
    with torch.device("meta"):
        net = getattr(cifar_resnet, f"{kind}{depth}")()
        whole = nn.ModuleList([net, net.new_classifier(10)])
    count = sum(p.numel() for p in whole.parameters())
    assert count == exact
    assert round(count / 1e6, 1 if depth == 110 else 2) == paper
    weighted = [m for m in whole.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == depth, "the name says how many layers have weights"


def test_the_window_is_what_a_32_image_has():
    net = cifar_resnet.resnet20().eval()
    maps = net(torch.rand(2, 3, 32, 32), ("c0", "c1", "c2"))
    assert [tuple(m.shape[1:]) for m in maps.values()] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert net.window == 16
    torch.testing.assert_close(net.tail_maps(maps["c1"]), maps["c2"])


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_shortcuts_subsample_and_pad_with_zeros(size):
    shortcut = cifar_resnet.zero_padding(16, 32, 2)
    x = torch.randn(2, 16, *size)
    expected = torch.zeros(2, 32, (size[0] + 1) // 2, (size[1] + 1) // 2)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    torch.testing.assert_close(shortcut(x), expected)
    assert not list(shortcut.parameters())


def test_a_block_without_a_branch_is_its_shortcut_and_a_plain_one_is_nothing():
    x = torch.rand(2, 4, 6, 6)
    for shortcut, expected in ((True, x), (False, torch.zeros_like(x))):
        block = CifarBlock(4, 4, 1, "batch", shortcut, 0.0).eval()
        nn.init.zeros_(block.conv2.weight)
        torch.testing.assert_close(block(x), expected)


def test_plain_networks_have_the_parameters_of_their_twins_under_other_names():
    plain, residual = cifar_resnet.plain20(), cifar_resnet.resnet20()
    plain.load_state_dict({key.replace("layer", "plain"): value for key, value in residual.state_dict().items()})
    images = torch.rand(1, 3, 32, 32)
    assert not torch.allclose(plain.eval()(images, ("c0",))["c0"], residual.eval()(images, ("c0",))["c0"])


@pytest.mark.parametrize("depth", [2, 9, 18])
def test_other_depths_are_refused(depth):
    with pytest.raises(ConfigError, match=f"6n \\+ 2 .*not {depth}"):
        CifarResNet(depth)


def test_an_unknown_norm():
    with pytest.raises(ConfigError, match="batch, frozen, group, none"):
        cifar_resnet.resnet20(norm="layer")


def test_no_imagenet_weights():
    with pytest.raises(ConfigError, match="no ImageNet weights"):
        cifar_resnet.resnet20(weights="imagenet")


# The published weights


def photos(datasets_root: Path) -> tuple[Tensor, Tensor]:
    """All 1,000 of CIFAR-10's JPEG val images, in 0 ... 1, and their labels."""
    folder = datasets_root / "cifar10_jpeg" / "val"
    if not folder.is_dir():
        pytest.skip(f"VISIONKIT_DATASETS has no cifar10_jpeg: {datasets_root}")
    images, labels = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for path in sorted((folder / name).glob("*.jpg")):
            images.append(np.asarray(Image.open(path).convert("RGB")))
            labels.append(label)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255, torch.tensor(labels)


def published(name: str, weights_root: Path) -> tuple[CifarResNet, nn.Module]:
    path = weights_root / f"cifar_{name}.th"
    if not path.is_file():
        pytest.skip(f"VISIONKIT_WEIGHTS has no {path.name}: {weights_root}")
    net = getattr(cifar_resnet, name)().eval()
    classifier = net.new_classifier(10)
    report = load_weights(net, path, classifier)
    assert not report.unused and len(report.classifier) == 2
    return net, classifier


@torch.no_grad()
def accuracy(
    net: CifarResNet, classifier: nn.Module, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor
) -> float:
    images = (images - mean) / std
    logits = torch.cat([logits_of(net, classifier, some) for some in images.split(100)])  # (N, 10)
    return float((logits.argmax(1) == labels).double().mean()) * 100


@pytest.mark.parametrize(("name", "expected"), [("resnet20", 81.4), ("resnet56", 83.2)])
def test_accuracy_of_the_published_weights(name, expected, weights_root, datasets_root):
    net, classifier = published(name, weights_root)
    images, labels = photos(datasets_root)
    mean, std = torch.tensor(net.mean).view(3, 1, 1), torch.tensor(net.std).view(3, 1, 1)
    assert accuracy(net, classifier, images, labels, mean, std) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("mistake", ["pixels up to 255", "neither mean nor std"])
def test_a_wrong_mean_and_std_costs_most_of_the_accuracy(mistake, weights_root, datasets_root):
    net, classifier = published("resnet20", weights_root)
    images, labels = photos(datasets_root)
    images, labels = images[::2], labels[::2]
    mean, std = torch.tensor(net.mean).view(3, 1, 1), torch.tensor(net.std).view(3, 1, 1)
    if mistake == "pixels up to 255":
        images = images * 255
    else:
        mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    assert accuracy(net, classifier, images, labels, mean, std) < 40


def test_zero_init_residual_makes_every_block_its_shortcut():
    net = cifar_resnet.resnet20(zero_init_residual=True).eval()
    x = torch.rand(1, 16, 8, 8)
    torch.testing.assert_close(net.layer1(x), x)
    assert not torch.equal(cifar_resnet.resnet20().eval().layer1(x), x)


def test_a_plain_network_refuses_its_residual_twins_weights(tmp_path):
    torch.save(cifar_resnet.resnet20().state_dict(), tmp_path / "residual.pth")
    with pytest.raises(ConfigError, match="does not fit.*it fits resnet20"):
        cifar_resnet.plain20(str(tmp_path / "residual.pth"))

"""DC5: c5 as fine as c4, regions on it, and a tail of fresh layers."""

from functools import partial

import pytest
import torch

from visionkit.backbones.box_tails import TwoLayerTail
from visionkit.backbones.contract import assert_is_backbone
from visionkit.backbones.dilated import DilatedC5, build_dc5
from visionkit.backbones.freeze import freeze
from visionkit.backbones.resnet import ResNet, resnet18, resnet50
from visionkit.backbones.resnet_blocks import Bottleneck
from visionkit.errors import ConfigError


def narrow(dilation=2) -> ResNet:
    return ResNet(Bottleneck, (1, 1, 1, 2), (8, 8, 8, 8), dilation=dilation)


def small() -> DilatedC5:
    return DilatedC5(narrow(), tail=TwoLayerTail(32, 7, 24))


def test_contract():
    net = small()
    assert net.region_stages == net.proposal_stages == ("c5",)
    assert net.stages["c5"] == (32, 16) and net.window == 7 and net.out_channels == 24
    assert_is_backbone(net)


def test_maps_are_the_bodys():
    net = small().eval()
    images = torch.rand(1, 3, 64, 80)
    maps = net(images, ("c4", "c5"))
    assert maps["c5"].shape == (1, 32, 4, 5) and maps["c4"].shape[-2:] == (4, 5)
    assert torch.equal(maps["c5"], net.body(images, ("c5",))["c5"])


def test_weights_of_the_undilated_network_fit(tmp_path):
    torch.save(resnet50().state_dict(), tmp_path / "r50.pth")
    net = build_dc5(resnet50, weights=str(tmp_path / "r50.pth"))
    assert "loaded" in str(net.body.load_report)
    assert net.body.layer4[0].conv2.dilation == (2, 2) and net.body.layer4[0].conv2.stride == (1, 1)
    assert net.body.layer3[0].conv2.dilation == (1, 1)


def test_pixels_are_those_of_the_body_and_freezing_reaches_it():
    with torch.device("meta"):
        net = build_dc5(partial(resnet50, stride_in_1x1=True, std=(1 / 255,) * 3), hidden=8)
    assert net.std == (1 / 255,) * 3
    frozen = freeze(net, "c2")
    assert frozen and all(name.startswith(("body.conv1", "body.layer1")) for name in frozen)


def test_an_undilated_body_and_one_that_cannot_be():
    with pytest.raises(ConfigError, match="dilation=2"):
        DilatedC5(narrow(dilation=1), tail=TwoLayerTail(32, 7, 24))
    with pytest.raises(TypeError, match="dilation"):  # a configuration's refusal says so in a sentence
        build_dc5(resnet18)

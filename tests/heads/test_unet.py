"""The U-Net: on every kind of network, the way up written out, and what every decoder has to do."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))

from decoder_checks import (  # noqa: E402 (after the path)
    K,
    accuracy_after,
    assert_nothing_labelled_is_no_loss,
    assert_repeats,
    assert_takes_any_size,
    golden_loss,
    pictures,
    tiny_vgg,
)

from visionkit.backbones.base import Stage  # noqa: E402
from visionkit.backbones.mlp import mlp  # noqa: E402
from visionkit.backbones.resnet import basic_resnet  # noqa: E402
from visionkit.config import compose, instantiate  # noqa: E402
from visionkit.errors import ConfigError  # noqa: E402
from visionkit.heads.unet import UNetHead  # noqa: E402
from visionkit.models.build_segmenter import unet  # noqa: E402

JOINED = {
    "alexnet": (("c4", 16), ("c3", 8), ("c2", 4)),  # c5 is c4 pooled
    "densenet121": (("c5", 32), ("c4", 16), ("c3", 8), ("c2", 4), ("c1", 2)),
    "googlenet": (("c5", 32), ("c4", 16), ("c3", 8), ("c2", 4), ("c1", 2)),
    "lenet_relu": (("c1", 2), ("c0", 1)),
    "mobilenet_v2": (("c5", 32), ("c4", 16), ("c3", 8), ("c2", 4), ("c1", 2)),
    "resnet18": (("c5", 32), ("c4", 16), ("c3", 8), ("c2", 4), ("c1", 2)),
    "resnet20": (("c2", 4), ("c1", 2), ("c0", 1)),
    "resnet50_dc5": (("c5", 16), ("c3", 8), ("c2", 4), ("c1", 2)),
    "resnet18_fpn": (("p5", 32), ("p4", 16), ("p3", 8), ("p2", 4)),  # p6 is p5 pooled, for proposals
    "vgg16_bn": (("c5", 16), ("c4", 8), ("c3", 4), ("c2", 2), ("c1", 1)),
    "vgg16_fpn": (("p5", 16), ("p4", 8), ("p3", 4)),
}


def small(**settings):
    return unet(tiny_vgg(), K, **settings)


@pytest.mark.parametrize("name", JOINED)
def test_joins_the_last_map_of_each_stride_of_any_network_and_leaves_no_layer_unused(name):
    node = compose("train", [f"backbone={name}"]).backbone
    with torch.device("meta"):
        backbone = instantiate(node)
        model = unet(backbone, K)
    found = tuple((stage, backbone.stages[stage].stride) for stage in model.decoder.stages)
    assert found == JOINED[name]
    batch, targets = pictures(1, 96)
    model(batch.to("meta"), targets.to("meta"))["loss_class"].backward()
    unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == [], "else data parallel training stops"
    assert (model.decoder.multiple, model.decoder.least) == (found[0][1], backbone.min_size)


@pytest.mark.parametrize("up", ["transposed", "bilinear"])
def test_equals_the_way_up_written_out(up):
    head = UNetHead({"c3": Stage(6, 8), "c2": Stage(5, 4), "c1": Stage(4, 2)}, (7, 3), K, up=up).eval()
    maps = {"c3": torch.randn(2, 6, 4, 5), "c2": torch.randn(2, 5, 8, 10), "c1": torch.randn(2, 4, 16, 20)}
    x = maps["c3"]
    for name in ("c2", "c1"):
        block = head.blocks[name]
        if up == "bilinear":
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
        else:
            x = F.conv_transpose2d(x, block.enlarge.weight, block.enlarge.bias, stride=2)
        x = torch.cat((maps[name], x), dim=1)
        for layer in block.layers:
            x = layer[1](F.conv2d(x, layer[0].weight, padding=1)).relu()
    expected = F.interpolate(head.scores(x), size=(32, 40), mode="bilinear")
    torch.testing.assert_close(head(maps, (32, 40)), expected)


def test_as_wide_as_the_finer_map_or_as_told():
    decoder = small().decoder
    assert [block.layers[1][0].out_channels for block in decoder.blocks.values()] == [32, 32, 16, 16]
    decoder = small(widths=[24, 12, 8, 4], up="bilinear").decoder
    assert [block.layers[0][0].in_channels for block in decoder.blocks.values()] == [64, 56, 28, 20 + 4]
    assert decoder.scores.in_channels == 4


def test_maps_that_do_not_divide_are_stretched():
    head = UNetHead({"c2": Stage(4, 4), "c1": Stage(2, 2)}, (3,), K)
    assert head({"c2": torch.randn(1, 4, 5, 6), "c1": torch.randn(1, 2, 11, 13)}, (23, 27)).shape == (1, K, 23, 27)


def test_scores_are_float32_and_wider_types_stay():
    head = UNetHead({"c2": Stage(4, 4), "c1": Stage(2, 2)}, (3,), K).eval()
    for given, wanted in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        maps = {"c2": torch.randn(1, 4, 4, 4).to(given), "c1": torch.randn(1, 2, 8, 8).to(given)}
        assert head.to(given)(maps, (16, 16)).dtype == wanted


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="maps of one stride only"):
        unet(mlp(), K)
    with pytest.raises(ConfigError, match=r"task\.widths=\[8, 8\]: 4 are wanted"):
        small(widths=[8, 8])
    with pytest.raises(ConfigError, match="up=nearest"):
        small(up="nearest")
    with pytest.raises(ConfigError, match="widths=8"):
        small(widths=8)
    stages = {"c2": Stage(4, 4), "c1": Stage(2, 2)}
    with pytest.raises(ValueError, match="transposed or bilinear"):
        UNetHead(stages, (3,), K, up="nearest")
    with pytest.raises(ValueError, match="1 widths"):
        UNetHead(stages, (3, 3), K)
    with pytest.raises(ValueError, match="stride of 3"):
        UNetHead({"c2": Stage(4, 4), "c1": Stage(2, 3)}, (3,), K)


@pytest.mark.parametrize(("up", "golden"), [("transposed", 1.063835), ("bilinear", 0.972414)])
def test_golden_loss_from_fixed_weights(up, golden):
    assert golden_loss(small(up=up)) == pytest.approx(golden, abs=2e-4)


@pytest.mark.parametrize("up", ["transposed", "bilinear"])
def test_learns_four_pictures_by_heart(up):
    torch.manual_seed(0)
    assert accuracy_after(small(up=up), 40) > 0.97


@pytest.mark.parametrize("norm", ["batch", "group", "frozen", "none"])
def test_nothing_labelled(norm):
    assert_nothing_labelled_is_no_loss(small(norm=norm))


@pytest.mark.parametrize("up", ["transposed", "bilinear"])
def test_repeats_bit_for_bit(up):
    assert_repeats(small(up=up))


def test_takes_any_size():
    assert_takes_any_size(small())
    assert_takes_any_size(unet(basic_resnet((8, 8, 16, 16)), K))


def test_an_empty_batch():
    model = small().eval()
    maps = model.backbone(torch.zeros(0, 3, 64, 64), model.decoder.stages)
    assert model.decoder(maps, (64, 64)).shape == (0, K, 64, 64)

"""SegNet: its size, the same network written with torch's unpooling, and what every decoder has to do."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

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

from visionkit.backbones.resnet import basic_resnet  # noqa: E402
from visionkit.backbones.vgg import vgg16_bn  # noqa: E402
from visionkit.errors import ConfigError  # noqa: E402
from visionkit.models.build_segmenter import deconvnet, segnet  # noqa: E402


def small(**settings):
    return segnet(tiny_vgg(), K, **settings)


def test_full_size_is_a_tenth_of_deconvnet():
    """Nearly 30 million parameters, in as many convolutions down as up."""
    with torch.device("meta"):
        model, other = segnet(vgg16_bn(), 11), deconvnet(vgg16_bn(), 11)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13 + 13 + 1
    assert not [m for m in model.modules() if isinstance(m, nn.ConvTranspose2d | nn.Linear)]
    count = sum(p.numel() for p in model.parameters())
    down = sum(p.numel() for p in model.backbone.parameters())
    # The mirror has the widths of the way down turned round: its first layer of the picture's three channels becomes
    # one of 64 to 64, and no biases.
    biases = sum(m.out_channels for m in convolutions[:13])
    up = down - biases - 3 * 64 * 9 + 64 * 64 * 9 - 2 * biases + 2 * sum(m.out_channels for m in convolutions[13:26])
    assert count == up + down + 64 * 11 + 11
    assert count < 0.12 * sum(p.numel() for p in other.parameters())


def test_equals_the_same_network_with_torchs_switches_and_unpooling():
    model = small().eval()
    batch, _ = pictures(2, 64)
    x = model.normalize(batch)
    places, sizes = [], []
    with torch.no_grad():
        for layer in model.backbone.features:
            if isinstance(layer, nn.MaxPool2d):
                sizes.append(x.shape)
                x, where = F.max_pool2d(x, 2, 2, return_indices=True)
                places.append(where)
            else:
                x = layer(x)
        for block in model.decoder.blocks.values():
            x = block.layers(F.max_unpool2d(x, places.pop(), 2, output_size=sizes.pop()[2:]))
        torch.testing.assert_close(model.logits(batch), model.decoder.scores(x), atol=1e-5, rtol=1e-4)


def test_no_layer_goes_unused():
    model = small()
    assert not [name for name, _ in model.named_parameters() if "classifier" in name]
    model(*pictures(2))["loss_class"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model.decoder.stages == ("pool5", "c5", "c4", "c3", "c2", "c1")
    assert (model.decoder.least, model.decoder.multiple) == (32, 32)


def test_a_network_that_cannot_be_mirrored_is_refused():
    with pytest.raises(ConfigError, match="ResNet cannot be mirrored"):
        segnet(basic_resnet(), K)


def test_golden_loss_from_fixed_weights():
    assert golden_loss(small()) == pytest.approx(1.067068, abs=2e-4)


def test_learns_four_pictures_by_heart():
    torch.manual_seed(0)
    assert accuracy_after(small(), 60) > 0.94  # 0.88 if the two kinds of rectangles are one


@pytest.mark.parametrize("norm", ["batch", "group", "frozen", "none"])
def test_nothing_labelled(norm):
    assert_nothing_labelled_is_no_loss(small(norm=norm))


def test_repeats_bit_for_bit():
    assert_repeats(small())


def test_takes_any_size():
    assert_takes_any_size(small())


def test_an_empty_batch():
    model = small().eval()
    maps = model.backbone(torch.zeros(0, 3, 64, 64), model.decoder.stages)
    assert model.decoder(maps, (64, 64)).shape == (0, K, 64, 64)

"""DeconvNet: the paper's table, the same network written with torch's unpooling, and what every decoder has to do."""

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
    batch_of,
    golden_loss,
    pictures,
    targets_of,
    tiny_vgg,
)

from visionkit.backbones.alexnet import alexnet  # noqa: E402
from visionkit.backbones.fpn import build_fpn  # noqa: E402
from visionkit.backbones.googlenet import googlenet  # noqa: E402
from visionkit.backbones.lenet import lenet_relu  # noqa: E402
from visionkit.backbones.nin import nin  # noqa: E402
from visionkit.backbones.resnet import basic_resnet  # noqa: E402
from visionkit.backbones.vgg import VGG, vgg11_bn_narrow, vgg16_bn, vgg16_c  # noqa: E402
from visionkit.errors import ConfigError  # noqa: E402
from visionkit.models.build_segmenter import deconvnet  # noqa: E402
from visionkit.models.pooled_blocks import pooled_blocks  # noqa: E402

# Table 2 of the paper, from fc7 on: side and channels of every layer's output for pictures of 224 x 224.
MIRROR = [
    ("expand", 7, 512),
    *(("c5", 14, 512) for _ in range(3)),
    ("c4", 28, 512), ("c4", 28, 512), ("c4", 28, 256),
    ("c3", 56, 256), ("c3", 56, 256), ("c3", 56, 128),
    ("c2", 112, 128), ("c2", 112, 64),
    ("c1", 224, 64), ("c1", 224, 64),
    ("scores", 224, 21),
]  # fmt: skip


def small(**settings):
    return deconvnet(tiny_vgg(), K, **settings)


def test_the_layers_of_the_papers_table():
    with torch.device("meta"):
        model = deconvnet(vgg16_bn(), 21)
        found = []

        def note(name):
            return lambda module, inputs, output: found.append((name, output.shape[2], output.shape[1]))

        for name, module in model.decoder.named_modules():
            if isinstance(module, nn.ConvTranspose2d):
                kernel = (7, 0) if name.startswith("expand") else (3, 1)
                assert (module.kernel_size[0], module.padding[0]) == kernel and module.stride == (1, 1)
                module.register_forward_hook(note(name.split(".")[1] if "blocks" in name else "expand"))
            elif isinstance(module, nn.Conv2d):
                assert module.kernel_size == (1, 1)
                module.register_forward_hook(note("scores"))
        vectors = []
        model.decoder.expand[0].register_forward_pre_hook(lambda module, inputs: vectors.append(inputs[0].shape))
        scores = model.logits(batch_of(torch.zeros(2, 3, 224, 224, dtype=torch.uint8)))
    assert vectors == [(2, 4096, 1, 1)]
    assert found == MIRROR
    assert scores.shape == (2, 21, 224, 224)
    assert (model.decoder.least, model.decoder.multiple) == (224, 32)


def test_as_many_parameters_as_the_paper_says():
    """Counted from widths and depths alone. The paper has "approximately 252M", biases before batch norm included."""
    widths, depths = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)
    down, up, channels = [], [], 3
    for width, depth in zip(widths, depths, strict=True):
        down += [(channels, width), *[(width, width)] * (depth - 1)]
        up += [(width, width)] * (depth - 1) + [(width, max(64, channels))]
        channels = width
    layers = [(9 * a * b, b) for a, b in (*down, *up)]
    full = [(49 * 512 * 4096, 4096), (4096 * 4096, 4096), (49 * 4096 * 512, 512)]
    paper = sum(weights + biases for weights, biases in (*layers, *full)) + 64 * 21 + 21
    assert paper == 251_772_245
    norms = sum(2 * b for _, b in layers) + 2 * 512  # scale and shift; none in the trunk's fc6 and fc7
    without_biases = sum(b for _, b in up) + 512  # the mirror's layers have none before their norms
    with torch.device("meta"):
        model = deconvnet(vgg16_bn(), 21)
    assert sum(p.numel() for p in model.parameters()) == paper + norms - without_biases


@pytest.mark.slow
def test_a_training_step_at_full_size():
    model = deconvnet(vgg16_bn(dropout=0.0), 21)
    batch, targets = pictures(1, 224)
    before = {name: p.detach().double().sum().item() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    losses = []
    for _ in range(2):
        loss = model(batch, targets)["loss_class"]
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(21.0).log().item(), abs=0.5)
    assert losses[1] < losses[0]
    moved = [name for name, p in model.named_parameters() if p.detach().double().sum().item() != before[name]]
    assert {"backbone.features.0.weight", "decoder.expand.0.weight", "decoder.scores.weight"} <= set(moved)


def test_equals_the_same_network_with_torchs_switches_and_unpooling():
    model = small().eval()
    batch, _ = pictures(2, 96)
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
        fc6, fc7 = model.backbone.classifier[0], model.backbone.classifier[3]
        x = F.conv2d(x, fc6.weight.view(64, 32, 2, 2), fc6.bias).relu()
        x = F.conv2d(x, fc7.weight[:, :, None, None], fc7.bias).relu()
        assert x.shape == (2, 64, 2, 2), "four windows of 64 in a picture of 96"
        expand, norm, _ = model.decoder.expand
        windows = F.conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
        x = norm(F.conv_transpose2d(x, expand.weight) / windows).relu()
        for block in model.decoder.blocks.values():
            x = block.layers(F.max_unpool2d(x, places.pop(), 2, output_size=sizes.pop()[2:]))
        expected = model.decoder.scores(x)
        torch.testing.assert_close(model.logits(batch), expected, atol=1e-5, rtol=1e-4)


def test_the_same_windows_side_by_side_give_the_same_maps():
    """A vector at every place of a larger map: what the norm then sees does not grow with the picture."""
    head, vector = small().decoder.eval(), torch.randn(1, 64, 1, 1)
    sums = []
    head.expand[1].register_forward_pre_hook(lambda module, inputs: sums.append(inputs[0]))
    for cells in (1, 6):
        side = 32 * (cells + 1)
        before = {name: torch.zeros(1, width, side // s, side // s) for name, width, s in zip(
            ("c5", "c4", "c3", "c2", "c1"), (32, 32, 32, 16, 16), (16, 8, 4, 2, 1), strict=True)}  # fmt: skip
        head({"tail": vector.expand(1, 64, cells, cells), **before}, (side, side))
    one, many = sums
    assert one.shape[2:] == (2, 2) and many.shape[2:] == (7, 7)
    torch.testing.assert_close(many[0, :, 3, 3], one[0].mean(dim=(1, 2)))
    torch.testing.assert_close(many[0, :, 0, 0], one[0, :, 0, 0])


def test_mirrors_the_depth_and_the_width_of_any_vgg():
    blocks = pooled_blocks(vgg11_bn_narrow())
    assert [block.depth for block in blocks] == [1, 1, 2, 2, 2]
    assert [(block.stage, block.pooled, block.channels) for block in blocks] == [
        ("c1", "pool1", 16), ("c2", "pool2", 32), ("c3", "pool3", 64), ("c4", "pool4", 128), ("c5", "pool5", 128),
    ]  # fmt: skip
    with torch.device("meta"):
        assert [block.depth for block in pooled_blocks(vgg16_c(norm="batch"))] == [2, 2, 3, 3, 3]
        three = VGG((1, 2, 1), "batch", widths=(4, 8, 8), hidden=16, window=2)
    three.region_stages = ("c3",)
    assert [(block.stage, block.depth) for block in pooled_blocks(three)] == [("c1", 1), ("c2", 2), ("c3", 1)]
    decoder = deconvnet(vgg11_bn_narrow(), K).decoder
    assert decoder.stages == ("tail", "c5", "c4", "c3", "c2", "c1")
    assert (decoder.least, decoder.multiple, decoder.covering_tail) == (96, 32, False)


@pytest.mark.parametrize(
    "make", [basic_resnet, googlenet, alexnet, nin, lenet_relu, lambda: build_fpn(lambda **_: basic_resnet())]
)
def test_a_network_that_cannot_be_mirrored_is_refused(make):
    with pytest.raises(ConfigError, match=r"cannot be mirrored: .*vgg11 .*task=unet"):
        deconvnet(make(), K)


def test_an_unknown_norm_or_size_is_refused():
    with pytest.raises(ConfigError, match="norm must be one of"):
        small(norm="layer")
    with pytest.raises(ConfigError, match="short=0"):
        small(short=0)


def test_golden_loss_from_fixed_weights():
    assert golden_loss(small()) == pytest.approx(1.065926, abs=2e-4)


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
    maps = model.backbone(torch.zeros(0, 3, 96, 96), ("c5", "c4", "c3", "c2", "c1"))
    maps["tail"] = torch.zeros(0, 64, 2, 2)
    assert model.decoder(maps, (96, 96)).shape == (0, K, 96, 96)


def test_layers_of_classes_are_named():
    model = small()
    named = [n for n, _ in model.named_parameters() if n.startswith(tuple(f"{x}." for x in model.class_layers))]
    assert named == ["decoder.scores.weight", "decoder.scores.bias"]


def test_ignored_pixels_do_not_count():
    model = small().eval()
    batch, targets = pictures(2)
    other = targets.semantic.clone()
    other[:, 10:50] = 255
    scores = model.logits(batch)
    expected = F.cross_entropy(scores, other, ignore_index=255)
    torch.testing.assert_close(model(batch, targets_of(other))["loss_class"], expected)

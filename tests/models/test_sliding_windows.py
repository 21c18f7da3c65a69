"""The sliding-window detector: dense equals naive, offset pooling, golden losses, overfitting, small pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from visionkit.backbones.alexnet import AlexNet, alexnet, alexnet_2012, alexnet_blocks
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.lenet import lenet
from visionkit.backbones.nin import nin
from visionkit.backbones.resnet import ResNet, basic_resnet, resnet18
from visionkit.backbones.resnet_blocks import BasicBlock
from visionkit.backbones.vgg import VGG, vgg11_bn_narrow, vgg16
from visionkit.errors import ConfigError
from visionkit.models.build import sliding_window
from visionkit.models.region_detector import RegionDetector
from visionkit.models.sliding_windows import network_view, window_pyramid
from visionkit.ops.boxes import iou
from visionkit.structures import Batch, Targets


def vgg(padded: bool = True, norm: str = "none", window: int = 2) -> VGG:
    """Windows of 64 pixels; without padding, of 126."""
    torch.manual_seed(0)
    net = VGG((1, 1, 1, 1, 1), norm, dropout=0.0, widths=(8, 8, 16, 16, 16), hidden=24, window=window)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and not padded:
            layer.padding = (0, 0)
        elif isinstance(layer, nn.Linear):  # the published start is so small that everything would be equal
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return net.eval()


def fixed_weights(model: nn.Module) -> None:
    """Weights without random numbers, so that the golden losses survive changes of any generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + len(name)).float()
            fan = max(1, parameter[0].numel() if parameter.ndim > 1 else 1)
            base = 1.0 if parameter.ndim == 1 and "weight" in name else 0.0
            parameter.copy_((base + values * (fan**-0.5 if parameter.ndim > 1 else 0.01)).view_as(parameter))


def pictures(sizes: list[tuple[int, int]], canvas: tuple[int, int] = (96, 128)) -> Batch:
    y, x = np.mgrid[: canvas[0], : canvas[1]]
    planes = np.stack([(np.sin(x / (5 + c)) + np.cos(y / (7 + c))) * 60 + 127 for c in range(3)])
    pixels = torch.from_numpy(np.stack([np.roll(planes, 9 * i, axis=2) for i in range(len(sizes))]).astype(np.uint8))
    seeds = torch.arange(len(sizes))
    return Batch(pixels, torch.tensor(sizes), seeds, seeds + 5)


def truth(boxes: list, labels: list) -> Targets:
    tensor = torch.tensor(boxes, dtype=torch.float32)
    valid = tensor.sum(dim=2) > 0
    return Targets(tensor, torch.tensor(labels), valid, torch.zeros_like(valid))


TWO = truth([[[10, 10, 60, 60], [70, 20, 110, 80]], [[5, 30, 45, 90], [0, 0, 0, 0]]], [[0, 1], [2, 0]])
SIZES = [(96, 128), (90, 101)]


@torch.no_grad()
def vectors(model: RegionDetector, batch: Batch) -> torch.Tensor:
    """Of all windows (B * N, C)."""
    maps = model.encode.maps(batch)
    proposals, _ = model.propose(batch, maps)
    count, windows = proposals.scores.shape
    index = torch.arange(count).repeat_interleave(windows)
    return model.encode(batch, maps, proposals.boxes.flatten(0, 1), index)


def both(backbone, batch: Batch, **settings) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors of all windows, densely and crop by crop."""
    found = [
        vectors(sliding_window(backbone, 3, encoding=encoding, **settings).eval(), batch)
        for encoding in ("dense", "crops")
    ]
    assert found[0].shape == found[1].shape and found[0].abs().mean() > 1e-2
    return found[0], found[1]


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("window", [None, 62])
def test_dense_equals_naive_without_padding(fine, window):
    dense, naive = both(vgg(padded=False), pictures(SIZES), scales=[0.5, 1.0, 1.5], fine=fine, window=window)
    torch.testing.assert_close(dense, naive, atol=1e-4, rtol=0)


def test_dense_equals_naive_without_padding_alexnet():
    torch.manual_seed(0)
    backbone = AlexNet(alexnet_blocks((8, 8, 16, 16, 16), "none"), 67, hidden=(24, 24)).eval()
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    dense, naive = both(backbone, pictures([(96, 128)]), scales=[1.0, 2.0], window=81)
    torch.testing.assert_close(dense, naive, atol=1e-4, rtol=0)


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("window", [None, 32])
def test_dense_equals_naive_with_padding_and_a_margin(fine, window):
    """A cell of the fifth block sees 31 pixels beyond its own."""
    batch, settings = pictures(SIZES), {"scales": [0.7, 1.0], "fine": fine, "window": window}
    dense, naive = both(vgg(), batch, margin=32, **settings)
    torch.testing.assert_close(dense, naive, atol=1e-4, rtol=0)
    dense, naive = both(vgg(), batch, **settings)
    assert (dense - naive).abs().max() > 1e-2, "plain crops of a padded network are something else"


@pytest.mark.parametrize("fine", [True, False])
def test_dense_equals_naive_where_the_tail_is_padded_too(fine):
    torch.manual_seed(0)
    backbone = ResNet(BasicBlock, (1, 1, 1, 1), (8, 8, 8, 8), "batch").eval()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
    dense, naive = both(backbone, pictures([(60, 90)], (64, 96)), scales=[2.0], margin=96, window=160, fine=fine)
    torch.testing.assert_close(dense, naive, atol=1e-4, rtol=0)
    assert len(dense) == (3 * 7 if fine else 2 * 4)


@torch.no_grad()
def test_offset_pooling_equals_the_network_on_shifted_pictures():
    """The windows between those of the network's own stride are those of the picture without its first 16 pixels."""
    net = vgg(padded=False)
    images = torch.randn(1, 3, 126 + 4 * 16, 126 + 3 * 16)
    fine = sliding_window(net, 3, scales=[1.0]).eval().encode._vectors(images)
    coarse = sliding_window(net, 3, scales=[1.0], fine=False).eval().encode
    assert fine.shape == (1, 24, 5, 4)
    for y in (0, 1):
        for x in (0, 1):
            shifted = coarse._vectors(images[:, :, 16 * y :, 16 * x :])
            torch.testing.assert_close(fine[:, :, y::2, x::2], shifted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (vgg16, 224),
        (vgg11_bn_narrow, 96),
        (alexnet, 224),
        (alexnet_2012, 227),
        (resnet18, 224),
        (nin, 224),
        (lenet, 32),
    ],
)
def test_what_a_network_sees_of_a_window(make, side):
    with torch.device("meta"):
        backbone = make()
    backbone.train()
    assert network_view(backbone) == side
    assert backbone.training
    assert {name for name, p in backbone.named_parameters() if p.grad is not None} == set()


def test_the_view_of_a_network_without_padding_is_the_least_that_gives_a_window():
    backbone = vgg(padded=False)
    assert network_view(backbone) == 126
    cells = [backbone(torch.zeros(1, 3, side, side), ("c5",))["c5"].shape[-1] for side in (125, 126)]
    assert cells == [3, 4] and backbone.dense_window == 4


# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
@pytest.mark.parametrize(("encoding", "expected"), [("dense", (1.675333, 0.681838)), ("crops", (1.666508, 0.670351))])
def test_golden_losses(encoding, expected):
    model = small("none", encoding=encoding).eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(pictures(SIZES), TWO)
    assert [losses[name].item() for name in ("loss_class", "loss_box")] == pytest.approx(expected, rel=1e-3)


def small(norm: str = "group", **settings) -> RegionDetector:
    settings = {"short": 96, "long": 128, "scales": [0.5, 1.0], "window": 32} | settings
    return sliding_window(vgg(norm=norm), 3, **settings)


def test_overfits_two_pictures():
    torch.manual_seed(0)
    model = small("batch").train()
    batch = pictures(SIZES)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    first = float("nan")
    for step in range(80):
        losses = model(batch, TWO)
        total = torch.stack(list(losses.values())).sum()
        first = total.item() if step == 0 else first
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert total.item() < 0.2 * first
    found = model.detect(batch, SIZES)
    best = [d.boxes[d.scores > 0.5] for d in found]
    assert iou(TWO.boxes[0], best[0]).amax(dim=1).min() > 0.6
    assert iou(TWO.boxes[1, :1], best[1]).max() > 0.6
    assert all(len(d.boxes) <= 4 for d in found), "hard negatives and NMS leave little else"


def test_no_objects_gives_finite_losses_and_gradients_everywhere():
    model = small().train()
    losses = model(pictures(SIZES), truth([[[0, 0, 0, 0]]] * 2, [[0], [0]]))
    assert losses.keys() == {"loss_class", "loss_box"} == set(model.loss_names)
    assert losses["loss_box"] == 0 and losses["loss_class"] > 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_losses_repeat_and_do_not_depend_on_the_mode():
    model = small(negatives=20, positives=2)
    with torch.no_grad():
        found = [model.train(mode)(pictures(SIZES), TWO) for mode in (True, True, False)]
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in found[0])


@pytest.mark.parametrize("encoding", ["dense", "crops"])
@pytest.mark.parametrize("size", [(1, 1), (9, 50), (61, 43), (96, 128), (97, 33)])
def test_pictures_of_any_size(size, encoding):
    model = small(encoding=encoding)
    fixed_weights(model)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = model.predict([image])[0]
    assert found.boxes.isfinite().all()
    assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([size[1], size[0]] * 2)).all()


def test_pictures_smaller_than_a_window_have_one():
    model = small(scales=[0.25])
    batch = pictures([(20, 30)], (32, 32))
    proposals, losses = model.propose(batch, {})
    assert proposals.boxes.tolist() == [[[0, 0, 128, 128]]] and proposals.valid.all() and losses == {}
    assert vectors(model.eval(), batch).shape == (1, 24)


def test_an_image_gives_the_same_boxes_alone_and_in_a_batch():
    model = small("none", scales=[0.5, 1.0, 1.41])
    fixed_weights(model)
    pair = pictures(SIZES)
    alone = Batch(pair.pixels[1:], pair.sizes[1:], pair.ids[1:], pair.seeds[1:])
    within, apart = model.detect(pair, SIZES)[1], model.detect(alone, SIZES[1:])[0]
    assert len(apart.boxes) > 0 and within.labels.equal(apart.labels)
    torch.testing.assert_close(within.boxes, apart.boxes, atol=1e-3, rtol=0)
    painted = pair.pixels.clone()
    painted[1, :, 90:] = 255
    again = model.detect(replace(pair, pixels=painted), SIZES)[1]
    assert torch.equal(again.boxes, within.boxes), "what the padding holds is of no account"


def test_settings_are_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="choose a backbone without a pyramid"):
        sliding_window(build_fpn(basic_resnet, names=["c3", "c4", "c5"], channels=8, hidden=8, extra=None), 3)
    with pytest.raises(ConfigError, match="window=66: the network sees 64 pixels; an even number"):
        small(window=66)
    with pytest.raises(ConfigError, match="window=33"):
        small(window=33)
    with pytest.raises(ConfigError, match="scales="):
        small(scales=[])
    with pytest.raises(ConfigError, match="each once"):
        small(scales=[1.0, 1.0])
    with pytest.raises(ConfigError, match="match_low=0.6 is more than match_high=0.5"):
        small(match_low=0.6)
    with pytest.raises(ConfigError, match="encoding=sparse"):
        small(encoding="sparse")


def test_a_margin_is_made_whole_strides():
    assert window_pyramid(vgg(), [1.0], margin=1).margin == 32
    assert window_pyramid(vgg(), [1.0], fine=False, margin=33).margin == 64

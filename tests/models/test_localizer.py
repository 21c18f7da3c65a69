"""The localizer: golden losses, the mean box to begin with, overfitting, pictures without an object, every kind of
network, and one answer whatever way it is asked."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from single_pictures import SIDE, fixed_weights, pictures  # noqa: E402 (after the path)

from visionkit.backbones.alexnet import alexnet  # noqa: E402
from visionkit.backbones.fpn import build_fpn  # noqa: E402
from visionkit.backbones.lenet import lenet  # noqa: E402
from visionkit.backbones.nin import nin  # noqa: E402
from visionkit.backbones.resnet import basic_resnet  # noqa: E402
from visionkit.backbones.squeezenet import squeezenet1_1  # noqa: E402
from visionkit.errors import ConfigError  # noqa: E402
from visionkit.models.build import localizer  # noqa: E402
from visionkit.models.localizer import largest  # noqa: E402
from visionkit.ops.boxes import iou  # noqa: E402
from visionkit.ops.square_resize import SquareResize  # noqa: E402

WIDTHS = (8, 8, 16, 16)
MEAN = torch.tensor([0.2, 0.2, 0.8, 0.7])
FOUR = [[(4, 6, 30, 40, 0)], [(30, 20, 60, 60, 1)], [(10, 30, 50, 50, 2)], [(40, 4, 60, 44, 0)]]
SETTINGS = [{}, {"per_class": True}, {"box_input": "vector"}, {"box_loss": "l2"}]


def small(num_classes: int = 3, **settings):
    model = localizer(basic_resnet(WIDTHS, norm="group"), num_classes, size=SIDE, box_hidden=8, **settings)
    model.box_head.fit(MEAN)
    return model


# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
GOLDEN = [(1.110588, 0.914702), (1.110588, 1.231490), (1.110588, 1.288225), (1.110588, 0.244007)]


@pytest.mark.parametrize(("settings", "expected"), list(zip(SETTINGS, GOLDEN, strict=True)))
def test_golden_losses_from_fixed_weights(settings, expected):
    model = small(**settings).eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(*pictures(FOUR))
    assert [losses["loss_class"].item(), losses["loss_box"].item()] == pytest.approx(expected, rel=1e-3)
    assert set(losses) == {"loss_class", "loss_box"}


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_untrained_localizer_says_the_mean_box_in_pixels_of_each_picture(settings):
    model = small(**settings)
    images = [np.full((30, 80, 3), 90, np.uint8), np.full((70, 50, 3), 90, np.uint8)]
    for found, (height, width) in zip(model.predict(images), ((30, 80), (70, 50)), strict=True):
        expected = MEAN * torch.tensor([width, height, width, height])
        torch.testing.assert_close(found.boxes, expected.expand(3, 4))
        assert found.probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    assert model.training, "predict leaves the mode as it was"


@pytest.mark.parametrize("settings", [{}, {"per_class": True, "box_loss": "l2", "box_weight": 4.0}])
def test_learns_four_pictures_by_heart(settings):
    model = small(**settings)
    batch, targets = pictures(FOUR)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        loss = sum(model(batch, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.localize(batch, [(SIDE, SIDE)] * 4)
    for i, one in enumerate(found):
        label = int(targets.labels[i, 0])
        assert int(one.probabilities.argmax()) == label
        assert iou(one.boxes[label][None], targets.boxes[i, :1]).item() > 0.8


@pytest.mark.parametrize("settings", SETTINGS)
def test_pictures_without_an_object_teach_nothing_and_break_nothing(settings):
    model = small(**settings)
    batch, none = pictures([[], []])
    losses = model(batch, none)
    assert losses["loss_class"] == 0 and losses["loss_box"] == 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and (parameter.grad == 0).all(), f"{name}: else data parallel training stops"
    model.zero_grad()
    batch, some = pictures([FOUR[0], [], []])
    alone, one = pictures(FOUR[:1])
    for key, value in model(batch, some).items():
        torch.testing.assert_close(value, model(alone, one)[key], atol=1e-5, rtol=1e-4)


def test_one_class_has_no_class_loss_and_still_a_gradient_everywhere():
    model = small(1)
    objects = [[(*box[:4], 0) for box in own] for own in FOUR]
    losses = model(*pictures(objects))
    assert losses["loss_class"] == 0 and losses["loss_box"] > 0
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model.predict([np.zeros((9, 9, 3), np.uint8)])[0].probabilities.tolist() == [1.0]


def test_the_largest_object_is_learnt_and_no_crowd():
    _, targets = pictures([[(0, 0, 4, 4, 1), (0, 0, 20, 20, 2), (0, 0, 40, 40, 0)], [(5, 5, 9, 9, 1)], []])
    targets.crowd[0, 2] = True
    labels, boxes, present = largest(targets)
    assert labels[:2].tolist() == [2, 1] and present.tolist() == [1.0, 1.0, 0.0]
    assert boxes[:2].tolist() == [[0, 0, 20, 20], [5, 5, 9, 9]]


def test_each_class_learns_its_own_box():
    model = small(per_class=True)
    losses = model(*pictures([[(4, 6, 30, 40, 1)]]))
    losses["loss_box"].backward()
    gradient = model.box_head.linear.bias.grad.view(3, 4).abs().sum(dim=1)
    assert gradient[1] > 0 and gradient[0] == gradient[2] == 0


def test_losses_do_not_depend_on_the_mode_nor_on_the_canvas_of_the_truth():
    model = small()
    batch, targets = pictures(FOUR)
    with torch.no_grad():
        a, b = model.eval()(batch, targets), model.train()(batch, targets)
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_picture_gives_the_same_box_alone_and_in_a_batch():
    model = small()
    fixed_weights(model)
    batch, _ = pictures(FOUR)
    together = model.localize(batch, [(SIDE, SIDE)] * 4)
    for i, one in enumerate(together):
        image = batch.pixels[i].permute(1, 2, 0).contiguous().numpy()
        alone = model.predict([image])[0]
        torch.testing.assert_close(alone.boxes, one.boxes, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(alone.probabilities, one.probabilities, atol=1e-5, rtol=1e-4)
    again = model.predict([image])[0]
    assert torch.equal(again.boxes, alone.boxes)


def test_boxes_stay_inside_the_picture():
    model = small()
    fixed_weights(model)
    with torch.no_grad():
        model.box_head.linear.bias.copy_(torch.tensor([3.0, -3.0, 2.0, 2.0]))
    found = model.predict([np.zeros((30, 50, 3), np.uint8)])[0].boxes
    assert found.min() >= 0 and (found[:, [0, 2]] <= 50).all() and (found[:, [1, 3]] <= 30).all()


def narrow(weights=None, norm="batch"):
    return basic_resnet(WIDTHS, norm=norm)


@pytest.mark.parametrize("box_input", ["maps", "vector"])
@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: alexnet(dropout=0.0), 64),
        (lambda: squeezenet1_1(dropout=0.0), 64),
        (nin, 64),
        (lenet, 32),
        (
            lambda: build_fpn(
                lambda weights, norm: basic_resnet(WIDTHS, norm=norm), norm="batch", channels=8, hidden=16
            ),
            64,
        ),
    ],
    ids=["alexnet", "squeezenet1_1", "nin", "lenet", "pyramid"],
)
def test_every_kind_of_network(build, size, box_input):
    """Fully connected tails, tails that end in a mean, a gray network, and a pyramid."""
    model = localizer(build(), 2, size=size, box_input=box_input, box_hidden=4)
    batch, targets = pictures([[(4, 6, 30, 30, 1)], [(2, 2, 20, 28, 0)]])
    batch = replace(batch, pixels=batch.pixels[:, :, :size, :size].contiguous(), sizes=torch.full((2, 2), size))
    sum(model(batch, targets).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model.localize(batch, [(size, size)] * 2)[0].boxes.shape == (2, 4)


def test_building_leaves_running_statistics_alone():
    net = basic_resnet(WIDTHS).train()
    before = net.bn1.running_var.clone()
    localizer(net, 2, size=SIDE)
    assert torch.equal(net.bn1.running_var, before) and net.bn1.num_batches_tracked == 0 and net.training


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 16}, "size=16: ResNet takes images of at least 32 pixels a side"),
        ({"size": 0}, "size=0: size has to be a whole number of at least 1"),
        ({"box_input": "map"}, "box_input=map: box_input has to be maps or vector"),
        ({"box_loss": "l1"}, "box_loss=l1: box_loss has to be smooth_l1 or l2"),
        ({"per_class": 1}, "per_class=1: per_class has to be true or false"),
        ({"box_hidden": 0.5}, "box_hidden=0.5: box_hidden has to be a whole number"),
        ({"box_weight": -1}, "box_weight=-1: box_weight has to be a number of at least 0"),
        ({"box_beta": -1}, "box_beta=-1"),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        localizer(basic_resnet(WIDTHS), 3, **settings)


def test_the_size_follows_from_the_network():
    assert localizer(basic_resnet(WIDTHS), 3).resize == SquareResize(224)
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8"):
        small().predict([np.zeros((9, 9, 3), np.float32)])

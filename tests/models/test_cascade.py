"""Cascade R-CNN: three heads, each stricter; what they share, and what they refuse."""

import numpy as np
import pytest
import torch
from region_pictures import TWO, fixed_weights, images_of, pictures, truth

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.models.build import faster_rcnn
from visionkit.ops.boxes import iou

SMALL = {
    **{"short": 96, "long": 128, "rpn_train_top": (200, 100), "rpn_test_top": (200, 50)},
    **{"rpn_samples": 64, "regions": 32},
}


# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
GOLDEN = {"loss_class": 0.46602, "loss_class_2": 0.464321, "loss_class_3": 0.464164}


def tiny(**settings):
    torch.manual_seed(0)
    backbone = build_fpn(basic_resnet, norm="group", names=["c3", "c4", "c5"], channels=32, hidden=64, extra=None)
    settings = {"cascade": (0.5, 0.6, 0.7), "class_agnostic": True, "anchor_sizes": [[16], [32], [64]], **settings}
    return faster_rcnn(backbone, 3, **SMALL, **settings)


def test_golden_losses():
    model = tiny().eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(pictures(), TWO)
    assert set(losses) == set(model.loss_names) and len(losses) == 8
    found = {name: float(value) for name, value in losses.items() if "class" in name}
    assert found == pytest.approx(GOLDEN, rel=1e-3)


def test_every_stage_learns_and_the_trunk_hears_of_all():
    model = tiny()
    losses = model(pictures(), TWO)
    for name in ("loss_class", "loss_class_2", "loss_class_3"):
        gradients = torch.autograd.grad(losses[name], model.backbone.body.conv1.weight, retain_graph=True)
        assert gradients[0].abs().sum() > 0, name
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_later_stages_are_stricter():
    model = tiny()
    assert [sampler.high for sampler in model.samplers] == [0.5, 0.6, 0.7]
    stds = [head.stds[0] for head in (model.first, *model.later_heads)]
    assert stds == pytest.approx([0.1, 0.05, 0.1 / 3])


def test_no_truth_and_no_picture_content():
    model = tiny()
    losses = model(pictures(), truth([[[0, 0, 0, 0]], [[0, 0, 0, 0]]], [[0], [0]]))
    assert all(losses[name] == 0 for name in losses if "loss_box" in name)
    sum(losses.values()).backward()
    assert len(model.predict([np.zeros((40, 50, 3), np.uint8)])) == 1


def test_overfits_two_pictures():
    model, batch = tiny(), pictures()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        sum(model(batch, TWO).values()).backward()
        optimizer.step()
    found = model.predict(images_of(batch))
    for i, objects in enumerate(((0, 1), (2,))):
        for g, label in enumerate(objects):
            mine = found[i].boxes[(found[i].labels == label) & (found[i].scores > 0.3)]
            assert len(mine) and iou(TWO.boxes[i, g][None], mine).max() > 0.6, (i, g)


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="class_agnostic"):
        tiny(class_agnostic=False)
    with pytest.raises(ConfigError, match="pyramid"):
        faster_rcnn(basic_resnet(), 3, **SMALL, cascade=(0.5, 0.6), class_agnostic=True)
    with pytest.raises(ConfigError, match="cascade"):
        tiny(cascade=(0.5,))


def test_nothing_is_saved_twice():
    keys = list(tiny().state_dict())
    assert not any(key.startswith(("pool.", "first.")) for key in keys)
    assert any(key.startswith("later_heads.1.") for key in keys) and any(key.startswith("head.") for key in keys)

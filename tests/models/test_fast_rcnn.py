"""Fast R-CNN: given regions, through every option; golden losses, empty truth and empty proposals, overfitting."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from region_pictures import TWO, Tiles, fixed_weights, images_of, pictures, tiled, truth

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.models.build import fast_rcnn
from visionkit.ops.boxes import iou
from visionkit.ops.pad_proposals import pad_proposals


def tiny(fpn: bool = False, **settings):
    torch.manual_seed(0)
    backbone = basic_resnet(norm="group")
    if fpn:
        backbone = build_fpn(basic_resnet, norm="group", names=["c3", "c4", "c5"], channels=32, hidden=64, extra=None)
    return fast_rcnn(backbone, 3, proposals=Tiles(), short=96, long=128, regions=16, **settings)


def given(count: int = 2):
    batch = pictures(count)
    images = images_of(batch)
    return replace(batch, proposals=tiled(images)), images


# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
GOLDEN = [
    (False, {}, (1.355205, 0.360456)),
    (False, {"pooling": "align"}, (1.340879, 0.369256)),
    (True, {}, (1.395060, 0.385376)),
    (False, {"class_agnostic": True, "box_regression": "giou"}, (1.355205, 0.070683)),
]


@pytest.mark.parametrize(("fpn", "settings", "expected"), GOLDEN)
def test_golden_losses(fpn, settings, expected):
    model = tiny(fpn, **settings).eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(given()[0], TWO)
    assert tuple(losses) == model.loss_names == ("loss_class", "loss_box")
    assert [float(value) for value in losses.values()] == pytest.approx(expected, rel=1e-3)


def test_a_pyramid_aligns_and_a_single_map_pools():
    assert (tiny().encode.method, tiny(fpn=True).encode.method) == ("pool", "align")


def test_predict_is_detect_bit_for_bit():
    model = tiny(score_threshold=0.01)
    batch, images = given()
    for i, image in enumerate(images):
        parts = {name: getattr(batch, name)[i : i + 1] for name in ("pixels", "sizes", "ids", "seeds")}
        alone = replace(batch, **parts, proposals=tiled([image]))
        one, two = model.detect(alone, [(96, 128)])[0], model.predict([image])[0]
        assert len(one.boxes) > 0
        assert torch.equal(one.boxes, two.boxes) and torch.equal(one.scores, two.scores)


def test_without_proposals_it_says_so():
    model = tiny()
    with pytest.raises(ConfigError, match="without any"):
        model(pictures(), TWO)
    model.propose.search = None
    with pytest.raises(ConfigError, match="no search"):
        model.predict([np.zeros((64, 64, 3), np.uint8)])


def test_no_truth_and_no_proposals():
    model = tiny()
    batch, _ = given()
    losses = model(batch, truth([[[0, 0, 0, 0]], [[0, 0, 0, 0]]], [[0], [0]]))
    assert losses["loss_box"] == 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    empty = replace(batch, proposals=pad_proposals([nothing] * 2, [(96, 128)] * 2, [(96, 128)] * 2))
    assert all(value.isfinite() for value in model(empty, TWO).values())
    assert [len(found.boxes) for found in model.detect(empty, [(96, 128)] * 2)] == [0, 0]


def test_only_the_best_are_taken():
    model, batch = tiny(max_proposals=5), given()[0]
    proposals, losses = model.propose(batch, {}, None)
    assert proposals.boxes.shape == (2, 5, 4) and losses == {}
    assert torch.equal(proposals.boxes, batch.proposals.boxes[:, :5])


@pytest.mark.parametrize("settings", [{}, {"class_agnostic": True, "box_regression": "giou", "suppression": "soft"}])
def test_overfits_two_pictures(settings):
    model, (batch, images) = tiny(pooling="align", **settings), given()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(model(batch, TWO).values()).backward()
        optimizer.step()
    found = model.predict(images)
    for i, objects in enumerate(((0, 1), (2,))):
        for g, label in enumerate(objects):
            mine = found[i].boxes[(found[i].labels == label) & (found[i].scores > 0.5)]
            assert len(mine) and iou(TWO.boxes[i, g][None], mine).max() > 0.5, (i, g)

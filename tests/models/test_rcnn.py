"""R-CNN's network: warped regions, golden loss, one answer however it is asked, overfitting, nothing to see."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from region_pictures import TWO, Tiles, fixed_weights, images_of, pictures, tiled, truth

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.models.build import rcnn
from visionkit.models.warp import Warp
from visionkit.ops.pad_proposals import pad_proposals


def tiny(**settings):
    torch.manual_seed(0)
    settings = {"proposals": Tiles(), "short": 96, "long": 128, "regions": 16, "crop": 64} | settings
    return rcnn(basic_resnet((8, 8, 16, 16), norm="group"), 3, **settings)


def given(count: int = 2):
    batch = pictures(count)
    images = images_of(batch)
    return replace(batch, proposals=tiled(images)), images


def test_golden_loss():
    """Computed once on a CPU in float32; a change of this number is a change of the algorithm."""
    model = tiny().eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(given()[0], TWO)
    assert tuple(losses) == model.loss_names == ("loss_class",)
    assert float(losses["loss_class"]) == pytest.approx(GOLDEN, rel=1e-3)


GOLDEN = 1.380088


def test_alexnet_sees_227_pixels_and_the_regressors_its_pool5():
    from visionkit.backbones.alexnet import alexnet_2012

    model = rcnn(alexnet_2012(), 20)
    assert (model.encode.side, model.encode.context) == (227, 16)
    assert model.encode.map_channels == model.head.box_channels == 256 * 6 * 6 == 9216
    assert model.head.channels == 4096


def test_the_vector_is_the_tails_of_the_crop_then_the_maps_it_was_fed():
    model = tiny().eval()
    encode: Warp = model.encode
    batch, _ = given(1)
    box = torch.tensor([[10.0, 10, 60, 60], [0, 0, 128, 96]])
    with torch.no_grad():
        found = encode(batch, {}, box, torch.zeros(2, dtype=torch.int64))
        from visionkit.ops.warp import warp

        crops = warp(encode.normalize(batch), box, torch.zeros(2).long(), batch.sizes, 64, encode.context)
        maps = encode.backbone(crops, ("c4",))["c4"]
    torch.testing.assert_close(found[:, : encode.channels], encode.backbone.tail(maps))
    torch.testing.assert_close(found[:, encode.channels :], maps.flatten(1))
    assert encode.maps(batch) == {} and found.shape[1] == encode.channels + encode.map_channels


def test_many_regions_go_through_in_parts(monkeypatch):
    import visionkit.models.warp as module

    model, (batch, _) = tiny().eval(), given()
    boxes, index = (
        batch.proposals.boxes.flatten(0, 1),
        torch.arange(2).repeat_interleave(batch.proposals.boxes.shape[1]),
    )
    with torch.no_grad():
        whole = model.encode(batch, {}, boxes, index)
        monkeypatch.setattr(module, "AT_A_TIME", 7 * 64 * 64)
        seen = []
        model.encode.backbone.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
        parts = model.encode(batch, {}, boxes, index)
    assert max(seen) == 7 and sum(seen) == len(boxes)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-5)


def test_predict_is_detect_bit_for_bit_and_a_batch_gives_the_same():
    model = tiny(score_threshold=0.01)
    batch, images = given()
    together = model.detect(batch, [(96, 128)] * 2)
    for i, image in enumerate(images):
        parts = {name: getattr(batch, name)[i : i + 1] for name in ("pixels", "sizes", "ids", "seeds")}
        alone = replace(batch, **parts, proposals=tiled([image]))
        one, two = model.detect(alone, [(96, 128)])[0], model.predict([image])[0]
        assert len(one.boxes) > 0
        assert torch.equal(one.boxes, two.boxes) and torch.equal(one.scores, two.scores)
        torch.testing.assert_close(one.boxes, together[i].boxes, atol=1e-3, rtol=0)


def test_no_truth_and_no_proposals():
    model = tiny()
    batch, _ = given()
    losses = model(batch, truth([[[0, 0, 0, 0]], [[0, 0, 0, 0]]], [[0], [0]]))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    empty = replace(batch, proposals=pad_proposals([nothing] * 2, [(96, 128)] * 2, [(96, 128)] * 2))
    assert all(value.isfinite() for value in model(empty, TWO).values())
    assert [len(found.boxes) for found in model.detect(empty, [(96, 128)] * 2)] == [0, 0]


def test_overfits_two_pictures():
    model, (batch, _) = tiny(), given()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    first = None
    for _ in range(70):
        optimizer.zero_grad()
        loss = model(batch, TWO)["loss_class"]
        first = first or loss.item()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first
    found = model.detect(batch, [(96, 128)] * 2)
    assert set(found[0].labels[found[0].scores > 0.5].tolist()) == {0, 1}
    assert set(found[1].labels[found[1].scores > 0.5].tolist()) == {2}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"crop": 8}, "task.crop=8: ResNet takes pictures of at least 32"),
        ({"crop": 0}, "crop=0: crop has to be"),
        ({"context": 32}, "task.context=32 leaves nothing of a warped region of 64 pixels"),
        ({"context": -1}, "context=-1: context has to be"),
        ({"box_input": "pool5"}, "box_input=pool5"),
    ],
)
def test_settings_that_do_not_go(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        tiny(**settings)


def test_a_pyramid_is_refused():
    backbone = build_fpn(basic_resnet, norm="group", names=["c3", "c4", "c5"], channels=32, hidden=64, extra=None)
    with pytest.raises(ConfigError, match="a backbone without FPN"):
        rcnn(backbone, 3)

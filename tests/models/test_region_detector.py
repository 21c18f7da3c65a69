"""The region detector itself: golden losses, empty truth, overfitting, and one answer whatever way it is asked."""

import numpy as np
import pytest
import torch
from region_pictures import TWO, fixed_weights, pictures, truth

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.models.build import faster_rcnn
from visionkit.ops.boxes import iou
from visionkit.structures import Batch


def tiny(num_classes: int = 3, pooling: str = "align", fpn: bool = True):
    torch.manual_seed(0)
    if fpn:
        backbone = build_fpn(basic_resnet, norm="group", names=["c3", "c4", "c5"], channels=32, hidden=64, extra=None)
        sizes = [[16], [32], [64]]
    else:
        backbone, sizes = basic_resnet(norm="group"), [[16, 32, 64]]
    return faster_rcnn(
        backbone,
        num_classes,
        short=96,
        long=128,
        anchor_sizes=sizes,
        rpn_train_top=(200, 100),
        rpn_test_top=(200, 50),
        rpn_samples=64,
        regions=32 if fpn else 16,
        pooling=pooling,
    )


# Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
GOLDEN = [
    (True, "align", (0.690946, 0.011858, 1.398059, 0.000052)),
    (False, "align", (0.680066, 0.023934, 1.352265, 0.586856)),
    (False, "pool", (0.680066, 0.023934, 1.354206, 0.593513)),
]


@pytest.mark.parametrize(("fpn", "pooling", "expected"), GOLDEN)
def test_golden_losses(fpn, pooling, expected):
    model = tiny(fpn=fpn, pooling=pooling).eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(pictures(), TWO)
    names = ("loss_objectness", "loss_proposal", "loss_class", "loss_box")
    assert [losses[name].item() for name in names] == pytest.approx(expected, rel=1e-3, abs=2e-6)


def test_no_objects_gives_finite_losses_and_gradients_everywhere():
    model = tiny()
    nothing = truth([[[0, 0, 0, 0]], [[0, 0, 0, 0]]], [[0], [0]])
    losses = model(pictures(), nothing)
    assert losses["loss_proposal"] == 0 and losses["loss_box"] == 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_losses_do_not_depend_on_the_mode():
    """Of a model without dropout and batch statistics."""
    model = tiny()
    with torch.no_grad():
        a = model.eval()(pictures(), TWO)
        b = model.train()(pictures(), TWO)
    assert a.keys() == b.keys() == {"loss_objectness", "loss_proposal", "loss_class", "loss_box"}
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(("fpn", "pooling"), [(True, "align"), (False, "align"), (False, "pool")])
def test_overfits_two_pictures(fpn, pooling):
    model = tiny(fpn=fpn, pooling=pooling).train()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    batch = pictures()
    first = float("nan")
    for step in range(80):
        losses = model(batch, TWO)
        total = torch.stack(list(losses.values())).sum()
        first = total.item() if step == 0 else first
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert total.item() < (0.25 if fpn else 0.4) * first
    found = model.detect(batch, [(96, 128)] * 2)
    best = [d.boxes[d.scores > 0.5] for d in found]
    wanted = 0.6 if pooling == "align" else 0.4  # RoIPool rounds regions to whole cells, of 16 px here
    assert iou(TWO.boxes[0], best[0]).amax(dim=1).min() > wanted
    assert iou(TWO.boxes[1, :1], best[1]).max() > wanted


def test_an_image_gives_the_same_boxes_alone_and_in_a_batch():
    model = tiny()
    fixed_weights(model)
    model.eval()
    images = [pictures(1).pixels[0].permute(1, 2, 0).contiguous().numpy(), np.full((50, 70, 3), 90, np.uint8)]
    alone = model.predict(images)
    again = model.predict(images[:1])
    assert all(torch.equal(getattr(alone[0], k), getattr(again[0], k)) for k in ("boxes", "scores", "labels"))
    batch = pictures(2)
    both = model.detect(batch, [(96, 128)] * 2)
    one = model.detect(
        Batch(batch.pixels[:1], batch.sizes[:1], batch.ids[:1], batch.seeds[:1]),
        [(96, 128)],
    )
    assert len(both[0].boxes) == len(one[0].boxes)
    assert (both[0].boxes - one[0].boxes).abs().max() < 1e-4 * 128


def test_detections_come_in_pixels_of_the_original():
    model = tiny()
    fixed_weights(model)
    image = np.zeros((300, 500, 3), np.uint8)
    image[100:200, 150:300] = 255
    found = model.predict([image])[0]
    assert len(found.boxes) > 0 and found.boxes.isfinite().all()
    assert 128 < found.boxes[:, 2].max() <= 500 and 96 < found.boxes[:, 3].max() <= 300  # beyond the network's size


def test_a_crowd_is_neither_learned_nor_background():
    model = tiny().eval()
    box = [[10.0, 10.0, 60.0, 60.0]]
    with torch.no_grad():
        with_crowd = model(pictures(1), truth([box], [[0]], [[True]]))
        nothing = model(pictures(1), truth([[[0, 0, 0, 0]]], [[0]]))
    assert with_crowd["loss_box"] == 0 and with_crowd["loss_proposal"] == 0
    assert not torch.equal(with_crowd["loss_objectness"], nothing["loss_objectness"])


def test_predict_leaves_the_mode_as_it_was():
    model = tiny().train()
    model.predict([np.zeros((40, 60, 3), np.uint8)])
    assert model.training

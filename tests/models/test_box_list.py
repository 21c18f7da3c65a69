"""Detection by a fixed list of boxes: golden losses, overfitting, pictures without objects, and what it returns."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from single_pictures import SIDE, fixed_weights, pictures  # noqa: E402 (after the path)

from visionkit.backbones.resnet import basic_resnet  # noqa: E402
from visionkit.errors import ConfigError  # noqa: E402
from visionkit.models.build import fixed_boxes  # noqa: E402
from visionkit.ops.boxes import iou  # noqa: E402

TWO = [[(4, 6, 30, 40, 0), (36, 30, 60, 60, 1)], [(10, 30, 50, 50, 2)]]


def small(**settings):
    return fixed_boxes(basic_resnet((8, 8, 16, 16), norm="group"), 3, size=SIDE, slots=3, box_hidden=8, **settings)


def test_golden_losses_from_fixed_weights():
    model = small().eval()
    fixed_weights(model)
    with torch.no_grad():
        losses = model(*pictures(TWO))
    # Computed once on a CPU in float32; a change of these numbers is a change of the algorithm.
    assert [losses["loss_class"].item(), losses["loss_box"].item()] == pytest.approx((1.508657, 11.384257), rel=1e-3)


def test_learns_two_pictures_by_heart():
    model = small()
    batch, targets = pictures(TWO)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(90):
        loss = sum(model(batch, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.detect(batch, [(SIDE, SIDE)] * 2)
    for i, own in enumerate(TWO):
        good = found[i].scores > 0.5
        assert sorted(found[i].labels[good].tolist()) == [label for *_, label in own]
        assert iou(targets.boxes[i, : len(own)], found[i].boxes[good]).amax(dim=1).min() > 0.6
    assert model.training, "detect leaves the mode as it was"


def test_pictures_without_objects():
    model = small()
    losses = model(*pictures([[], []]))
    assert losses["loss_box"] == 0 and losses["loss_class"] > 0
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_detections_in_pixels_of_the_original():
    model = small()
    fixed_weights(model)
    found = model.predict([np.full((100, 300, 3), 80, np.uint8), np.full((64, 64, 3), 80, np.uint8)])
    assert len(found) == 2 and len(found[0].boxes) > 0
    assert found[0].boxes[:, [0, 2]].max() <= 300 and found[0].boxes[:, [1, 3]].max() <= 100
    assert (found[0].scores.diff() <= 0).all() and found[0].labels.max() < 3
    scale = torch.tensor([300 / 64, 100 / 64, 300 / 64, 100 / 64])
    torch.testing.assert_close(found[0].boxes, found[1].boxes * scale, atol=0.01, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"slots": 0}, "slots=0: slots has to be a whole number"), ({"size": 8}, "at least 32 pixels")],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        fixed_boxes(basic_resnet((8, 8, 16, 16)), 3, **settings)

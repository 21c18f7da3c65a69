"""Faster R-CNN on every kind of backbone that the papers put it on, through its configuration."""

import numpy as np
import pytest
import torch

from visionkit.assemble import build_model
from visionkit.config import compose
from visionkit.errors import ConfigError
from visionkit.structures import Batch, Targets

FEW = ["task.short=96", "task.long=128", "task.rpn_train_top=[200,40]", "task.rpn_test_top=[100,10]", "task.regions=8"]
# where regions are cut, their stride, the window, the tail's length, anchors in a cell
BACKBONES = {
    "vgg16": (("c5",), 16, 7, 4096, 15),
    "zf": (("c4",), 16, 6, 4096, 15),
    "alexnet": (("c4",), 16, 6, 4096, 15),
    "resnet50": (("c4",), 16, 14, 2048, 15),  # C4
    "resnet50_dc5": (("c5",), 16, 7, 1024, 15),
    "resnet50_msra_dc5": (("c5",), 16, 7, 1024, 15),
    "resnet50_fpn": (("p2", "p3", "p4", "p5"), 4, 7, 1024, 3),
    "resnet50_msra_fpn": (("p2", "p3", "p4", "p5"), 4, 7, 1024, 3),
    "resnet50_fpn_v2": (("p2", "p3", "p4", "p5"), 4, 7, 1024, 3),
}


def build(backbone, *settings):
    config = compose("train", ["task=faster_rcnn", f"backbone={backbone}", "backbone.weights=null", *FEW, *settings])
    return build_model(config, 3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_shapes(backbone):
    stages, stride, window, length, anchors = BACKBONES[backbone]
    with torch.device("meta"):
        model = build(backbone)
    net = model.backbone
    assert net.region_stages == stages and net.stages[stages[0]].stride == stride
    assert net.window == window and net.out_channels == length
    assert model.propose.head.cls_logits.out_channels == anchors
    assert model.head.cls_score.in_features == length


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["vgg16", "zf", "alexnet", "resnet50", "resnet50_dc5", "resnet50_fpn_v2"])
def test_losses_and_detections_with_and_without_objects(backbone):
    norm = [] if backbone in ("vgg16", "zf", "alexnet") else ["backbone.norm=batch"]  # frozen ones wait for weights
    model = build(backbone, *norm, *(["task.rpn_convs=2"] if backbone.endswith("v2") else []))
    pixels = (torch.rand(2, 3, 96, 128) * 255).to(torch.uint8)
    batch = Batch(pixels, torch.tensor([[96, 128], [80, 120]]), torch.arange(2), torch.arange(2))
    boxes = torch.tensor([[[10.0, 10.0, 70.0, 60.0]], [[0.0, 0.0, 0.0, 0.0]]])
    for objects in (True, False):
        valid = torch.tensor([[objects], [False]])
        targets = Targets(
            boxes * valid[..., None], torch.zeros(2, 1, dtype=torch.int64), valid, torch.zeros_like(valid)
        )
        losses = model(batch, targets)
        assert set(losses) == set(model.loss_names)
        assert all(loss.isfinite() for loss in losses.values())
        assert (losses["loss_box"] > 0) == objects
    model.head.score_threshold = 0.0
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    (found,) = model.predict([image])
    assert len(found.boxes) > 0 and found.boxes.isfinite().all()
    assert (found.boxes >= 0).all() and (found.boxes <= torch.tensor([90, 60, 90, 60])).all()


@pytest.mark.parametrize("backbone", ["vgg16", "zf", "alexnet", "resnet50", "resnet50_dc5"])
def test_anchors_of_the_caffe_code_are_for_single_maps(backbone):
    with torch.device("meta"):
        model = build(backbone, "task.legacy_anchors=true")
    assert model.propose.head.cls_logits.out_channels == 9
    with torch.device("meta"), pytest.raises(ConfigError, match="single proposal stage of stride 16"):
        build("resnet50_fpn", "task.legacy_anchors=true")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("task.anchor_rounding=up", "anchor_rounding has to be round or none"),
        ("task.anchor_pitch=cell", "anchor_pitch has to be canvas or stride"),
        ("task.rpn_convs=0", "rpn_convs has to be a whole number of at least 1"),
        ("task.rpn_beta=-1", "rpn_beta has to be a number of at least 0"),
        ("task.sampling=-1", "sampling has to be a whole number of at least 0"),
    ],
)
def test_settings_out_of_their_range(setting, sentence):
    with torch.device("meta"), pytest.raises(ConfigError, match=sentence):
        build("resnet18_fpn", setting)


@pytest.mark.parametrize("pitch", ["canvas", "stride"])
def test_pitch_of_the_anchors(pitch):
    """p6 of a canvas of 800 x 1344 has 13 x 21 cells: 61 x 64 pixels apart, or 64 x 64."""
    model = build("basic_fpn", f"task.anchor_pitch={pitch}", "backbone.extra=pool")
    maps = [torch.zeros(1, 64, h, w) for h, w in ((100, 168), (50, 84), (25, 42), (13, 21))]
    last = model.propose.anchors(maps, (800, 1344))[-1].unflatten(0, (13, 21, 3))
    down, right = last[1, 0, 0] - last[0, 0, 0], last[0, 1, 0] - last[0, 0, 0]
    assert down.tolist()[1] == {"canvas": 61, "stride": 64}[pitch] and right.tolist()[0] == 64

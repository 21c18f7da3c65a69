"""HiResCAM: equal to Grad-CAM where the network ends in a mean, and 0 where a detection cannot look."""

import numpy as np
import torch

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.explain.choose_target import choose_target, model_images
from visionkit.explain.grad_cam import grad_cam
from visionkit.explain.hires_cam import hires_cam
from visionkit.explain.targets import class_score
from visionkit.models.build import classifier, faster_rcnn
from visionkit.models.pixels import batch_of


def narrow(weights=None, norm="batch"):
    return basic_resnet((16, 16, 32, 32), weights=weights, norm="batch")


def test_equals_grad_cam_before_a_mean_and_a_linear_layer():
    torch.manual_seed(0)
    model = classifier(narrow(), 4, size=64).eval()
    images = torch.randn(2, 3, 64, 64)
    score = class_score(model, 1)
    torch.testing.assert_close(hires_cam(model, score, images, "tail"), grad_cam(model, score, images, "tail"))
    inner = [method(model, score, images, "c3") for method in (hires_cam, grad_cam)]
    assert not torch.allclose(*inner, rtol=0.1)


def test_a_detection_is_explained_inside_of_its_region():
    torch.manual_seed(0)
    body = build_fpn(narrow, names=("c2", "c3"), channels=16, hidden=32, extra=None)
    model = faster_rcnn(body, 3, short=128, long=192,
                        score_threshold=0.0, anchor_sizes=((16,), (32,))).eval()  # fmt: skip
    batch = batch_of(np.random.default_rng(0).integers(0, 255, (128, 192, 3), dtype=np.uint8), model.resize)
    images, names = model_images(model, batch), ("a", "b", "c")
    target = choose_target(model, names, batch, "detection:0")
    stride = model.backbone.stages[target.layer].stride
    found = [method(model, target.score, images, target.layer)[0] for method in (hires_cam, grad_cam)]
    x1, y1, x2, y2 = (target.box / stride).tolist()
    rows, columns = torch.meshgrid(torch.arange(found[0].shape[0]), torch.arange(found[0].shape[1]), indexing="ij")
    far = (
        (columns < x1 - 12) | (columns > x2 + 12) | (rows < y1 - 12) | (rows > y2 + 12)
    )  # in cells; boxes moved a little
    assert far.any() and found[0].max() > 0
    assert found[0][far].max() == 0 and found[1][far].max() > 0

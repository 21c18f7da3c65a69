"""Panels of explanations: at the place of the picture that they explain, of the class that was asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.explain.cam import class_activation_map
from visionkit.explain.grad_cam import enlarge
from visionkit.explain.targets import Target
from visionkit.explanations import Settings, View, explained, target_of, view_of
from visionkit.models.build import classifier, faster_rcnn, localizer
from visionkit.occlusion_panels import OcclusionSettings
from visionkit.predictor import Predictor
from visionkit.viz.panels import heat_panel

NAMES = ("cat", "dog", "car")
IMAGE = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)
SETTINGS = Settings(occlusion=OcclusionSettings(window=10, stride=10))


@pytest.fixture(scope="module", params=[classifier, localizer])
def predictor(request) -> Predictor:
    torch.manual_seed(0)
    return Predictor(request.param(basic_resnet((8, 8, 16, 16)), 3, size=64).eval(), NAMES, {})


@pytest.fixture(scope="module")
def padded() -> tuple[Predictor, View]:
    """A detector's canvas is larger than the picture."""
    torch.manual_seed(0)
    body = build_fpn(lambda weights, norm: basic_resnet((8, 8, 16, 16), weights=weights, norm="batch"), channels=16)
    predictor = Predictor(faster_rcnn(body, 3, short=70, long=100).eval(), NAMES, {})
    view = view_of(predictor.model, IMAGE, "a.png")
    assert view.picture.shape == (70, 90, 3) and view.images.shape[2:] == (96, 96)
    return predictor, view


def brightest(picture: np.ndarray, shape: tuple[int, int]) -> tuple[int, int]:
    """(y, x) of the picture that a panel shows it at."""
    flat = int(picture.astype(np.int64).sum(axis=2).argmax())
    y, x = divmod(flat, picture.shape[1])
    return y * shape[0] // picture.shape[0], x * shape[1] // picture.shape[1]


def test_maps_lie_on_the_picture_without_its_padding(padded):
    predictor, view = padded
    target = Target(lambda images: images[:, 0, 30, 70] * 2, "a pixel")
    _, panel = explained(predictor, view, target, ["saliency"], SETTINGS)
    assert brightest(panel.picture, (70, 90)) == (30, 70) and panel.high == pytest.approx(2)


def test_occlusion_costs_where_the_score_comes_from(padded):
    predictor, view = padded
    target = Target(lambda images: images[:, 0, 5:10, 60:70].abs().sum(dim=(1, 2)), "a corner")
    _, heat, places = explained(predictor, view, target, ["occlusion"], SETTINGS)
    share = heat.high  # of the pixels that one square covers
    plain = heat_panel(view.picture, np.zeros((70, 90)), "").picture
    y, x = np.nonzero(np.abs(heat.picture.astype(int) - plain).sum(axis=2) > 60)
    scale = heat.picture.shape[1] / 90
    assert (
        share > 0 and y.min() / scale >= 0 and y.max() / scale <= 11 and x.min() / scale >= 59 and x.max() / scale <= 71
    )
    assert places.low < places.high


@pytest.mark.parametrize("label", [0, 2])
def test_the_class_that_was_asked_for(predictor, label):
    view = view_of(predictor.model, IMAGE, "a.png")
    target = target_of(predictor, view, NAMES[label])
    _, panel = explained(predictor, view, target, ["cam"], SETTINGS)
    found = enlarge(class_activation_map(predictor.model, view.images, label), (64, 64))[0].numpy()
    np.testing.assert_array_equal(panel.picture, heat_panel(view.picture, found, "").picture)
    _, _, places, _ = explained(predictor, view, target, ["occlusion"], SETTINGS)
    assert f"({float(target.probability(view.images)[0].detach()):.2f})" in places.title
    other = explained(predictor, view, target_of(predictor, view, "dog"), ["occlusion"], SETTINGS)[2]
    assert (places.low, places.high) != (other.low, other.high)


def test_boxes_and_points_are_drawn(padded):
    predictor, view = padded
    trunk = predictor.model.encode.backbone
    score = lambda images: trunk(images, ("p3",))["p3"][:, :, 4, 5].square().sum(dim=1)  # noqa: E731
    target = Target(score, "a cell", layer="p3", point=(40, 20))
    for method in ("grad_cam", "hires_cam"):
        plain = explained(predictor, view, replace(target, point=None), [method], SETTINGS)
        marked = explained(predictor, view, target, [method], SETTINGS)
        boxed = explained(predictor, view, replace(target, box=torch.tensor([5.0, 5, 30, 40])), [method], SETTINGS)
        for k in (0, 1):
            assert not np.array_equal(plain[k].picture, marked[k].picture)
            assert not np.array_equal(boxed[k].picture, marked[k].picture)

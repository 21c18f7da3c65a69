"""Scores of every kind of model: equal to what the model says, with gradients, and sentences for what is not there."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.explain.choose_target import _found, choose_target, class_index, model_images
from visionkit.explain.detection_targets import _sources, traced_detections
from visionkit.explain.layers import map_gradient, maps_and_scores
from visionkit.explain.score import gradient
from visionkit.explain.segment_targets import segment_target
from visionkit.models.build import classifier, faster_rcnn, localizer, mask_rcnn, rcnn
from visionkit.models.build_counter import counter
from visionkit.models.build_patches import patches
from visionkit.models.build_segmenter import fcn
from visionkit.models.pixels import batch_of
from visionkit.ops.boxes import iou
from visionkit.structures import Detections, Proposals

NAMES = ("cat", "dog", "car")
IMAGE = np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)


def small():
    return basic_resnet((16, 16, 32, 32), norm="batch")


def viewed(model):
    batch = batch_of(IMAGE, model.resize)
    return batch, model_images(model, batch)


def finite_difference(score, images, step=1e-2):
    """The slope of the score along its own gradient, measured."""
    slope = gradient(score, images)
    along = slope / slope.norm()
    with torch.no_grad():
        return float((score(images + step * along) - score(images - step * along))[0]) / (2 * step), float(slope.norm())


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    body = build_fpn(
        lambda weights, norm: basic_resnet((8, 8, 16, 16), weights=weights, norm="batch"), channels=16, hidden=32
    )
    return mask_rcnn(
        body, 3, short=96, long=128, score_threshold=0.0, regions=8, mask_layers=(16,), mask_hidden=16
    ).eval()


def test_a_class_of_a_classifier():
    torch.manual_seed(0)
    model = classifier(small(), 3, size=64).eval()
    batch, images = viewed(model)
    found = model.classify(batch)[0].exp()
    target = choose_target(model, NAMES, batch)
    best = int(found.argmax())
    assert target.label == best and target.title == f"{NAMES[best]} {float(found[best]):.2f}"
    torch.testing.assert_close(target.probability(images)[0], found[best])
    assert torch.equal(choose_target(model, NAMES, batch, "Dog").score(images), model.scores(images)[:, 1])


def test_a_class_and_an_edge_of_a_localizer():
    torch.manual_seed(0)
    model = localizer(small(), 3, size=64).eval()
    torch.nn.init.normal_(model.box_head.linear.weight, std=0.05)
    batch, images = viewed(model)
    found = model.localize(batch, [(64, 64)])[0]
    best = int(found.probabilities.argmax())
    for k, edge in enumerate(("x1", "y1", "x2", "y2")):
        target = choose_target(model, NAMES, batch, f"box:{edge}")
        torch.testing.assert_close(target.score(images)[0].clamp(0, 64), found.boxes[best, k])
        assert gradient(target.score, images).abs().sum() > 0
        torch.testing.assert_close(target.box.clamp(0, 64), found.boxes[best])
    torch.testing.assert_close(choose_target(model, NAMES, batch, "car").probability(images)[0], found.probabilities[2])
    with pytest.raises(ConfigError, match="box:x1"):
        choose_target(model, NAMES, batch, "box:z")


def test_every_detection_is_traced_to_its_region(detector):
    batch, images = viewed(detector)
    found = detector.detect(batch, [tuple(batch.sizes[0].tolist())])[0]
    traced = traced_detections(detector, batch)
    torch.testing.assert_close(traced.found.boxes, found.boxes)
    assert len(found.boxes) > 20
    other = int((found.labels > 0).nonzero()[0])  # not class 0 alone
    for rank in (0, 5, 20, other):
        target = choose_target(detector, NAMES, batch, f"detection:{rank}")
        torch.testing.assert_close(target.probability(images)[0], found.scores[rank])
        torch.testing.assert_close(
            target.score(images)[0], logits_of(detector, batch, traced.regions[rank])[found.labels[rank]]
        )
        for k, edge in enumerate(("x1", "y1", "x2", "y2")):
            score = choose_target(detector, NAMES, batch, f"detection:{rank}:{edge}").score
            limit = batch.sizes[0, 1 - k % 2]
            torch.testing.assert_close(score(images)[0].clamp(0, limit), found.boxes[rank, k], atol=1e-3, rtol=0)


def logits_of(detector, batch, region):
    pool = detector.encode
    with torch.no_grad():
        return detector.head(pool(batch, pool.maps(batch), region[None], torch.zeros(1, dtype=torch.int64)))[0][0]


def test_the_mask_is_that_of_the_class(detector):
    batch, images = viewed(detector)
    traced = traced_detections(detector, batch)
    rank = int((traced.found.labels > 0).nonzero()[0])
    pool, label = detector.encode, int(traced.found.labels[rank])
    with torch.no_grad():
        box, index = traced.found.boxes[rank][None], torch.zeros(1, dtype=torch.int64)
        masks = detector.mask(pool.windows(pool.maps(batch), box, index, detector.mask.window))[0]  # (K, M, M)
    expected = masks[label][masks[label] > 0].mean() if (masks[label] > 0).any() else torch.tensor(0.0)
    score = choose_target(detector, NAMES, batch, f"mask:{rank}").score(images)[0]
    torch.testing.assert_close(score.detach(), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(masks[label], masks[0])


def test_regions_whose_boxes_coincide_are_told_apart_by_their_scores():
    """Moved boxes may be the same where the border of the picture cuts them."""
    found = Detections(torch.tensor([[0.0, 0, 9, 9]] * 2), torch.tensor([0.7, 0.4]), torch.tensor([1, 1]))
    moved = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 8, 9]])[:, None]  # (P, 1, 4)
    scores = torch.tensor([[0.1, 0.4], [0.1, 0.7], [0.1, 0.7]])
    proposals = Proposals(moved[None, :, 0], scores[None, :, 0], torch.ones(1, 3, dtype=torch.bool))
    assert _sources(found, moved, scores, proposals).tolist() == [1, 0]


def test_layers_that_see_a_region_are_refused():
    torch.manual_seed(0)
    model = faster_rcnn(small(), 3, short=96, long=128, score_threshold=0.0).eval()
    batch, images = viewed(model)
    score = choose_target(model, NAMES, batch, "detection:0").score
    for layer in ("c5", "encode.backbone.layer4"):
        with pytest.raises(ConfigError, match=f"layer={layer} looks at a region .* choose c4"):
            maps_and_scores(model, score, images, layer)
    assert len(maps_and_scores(model, score, images, "c4")[0]) == 1
    proposal = choose_target(model, NAMES, batch, "proposal:0").score
    assert len(maps_and_scores(model, proposal, images, "propose.head.conv")[0]) == 1


def test_layers_that_see_patches_are_refused():
    torch.manual_seed(0)
    model = patches(small(), 3).eval()
    images = torch.randn(1, 3, 40, 40)
    with pytest.raises(ConfigError, match="layer=c4 runs on patches"):
        maps_and_scores(model, lambda given: model.scores(given)[:, 1, 20, 20], images, "c4")


def test_scores_of_a_detection_have_true_gradients(detector):
    batch, images = viewed(detector)
    for text in ("detection:0", "detection:1:x2", "mask:0", "proposal:0", "proposal:2:y2"):
        target = choose_target(detector, NAMES, batch, text)
        measured, expected = finite_difference(target.score, images)
        assert measured == pytest.approx(expected, rel=0.1), text
        maps, scores = maps_and_scores(detector, target.score, images, target.layer)
        assert map_gradient(scores, maps, target.layer).abs().sum() > 0


def test_a_proposal_is_traced_to_its_anchor(detector):
    batch, images = viewed(detector)
    with torch.no_grad():
        proposals, _ = detector.propose(batch, detector.encode.maps(batch))
    for rank in (0, 3, 7):
        target = choose_target(detector, NAMES, batch, f"proposal:{rank}")
        torch.testing.assert_close(target.probability(images)[0], proposals.scores[0, rank])
        torch.testing.assert_close(target.box, proposals.boxes[0, rank])


def test_the_gradient_of_a_detection_lies_around_its_region(detector):
    """Far from the box nothing changes the score: the network's fields end."""
    torch.manual_seed(1)
    body = build_fpn(lambda weights, norm: basic_resnet((8, 8, 16, 16), weights=weights, norm="batch"), names=("c2",),
                     channels=16, hidden=32, extra=None)  # fmt: skip
    model = faster_rcnn(body, 3, short=256, long=400, score_threshold=0.0, anchor_sizes=((24,),)).eval()
    batch, images = viewed(model)
    traced = traced_detections(model, batch)
    small = int((traced.regions[:, 2:] - traced.regions[:, :2]).amax(dim=1).argmin())
    target = choose_target(model, NAMES, batch, f"detection:{small}")
    seen = gradient(target.score, images)[0].abs().amax(dim=0).nonzero()  # (n, 2)
    where = torch.tensor([[*seen.min(dim=0).values.flip(0).tolist(), *(seen.max(dim=0).values.flip(0) + 1).tolist()]])
    region = traced.regions[small]
    grown = torch.stack([region[0] - 60, region[1] - 60, region[2] + 60, region[3] + 60])
    assert iou(where[None].float(), region[None].float()).max() > 0
    assert (where[0, :2] >= grown[:2]).all() and (where[0, 2:] <= grown[2:]).all()


def test_what_a_detector_did_not_find_is_said(detector):
    batch, _ = viewed(detector)
    traced = traced_detections(detector, batch)
    tally = ", ".join(f"{count} {NAMES[k]}" for k, count in Counter(traced.found.labels.tolist()).most_common())
    detector.head.score_threshold = 1.0
    try:
        with pytest.raises(ConfigError, match="the model found nothing"):
            choose_target(detector, NAMES, batch)
        with pytest.raises(ConfigError, match="found no dog in this picture; it found nothing"):
            choose_target(detector, NAMES, batch, "dog")
    finally:
        detector.head.score_threshold = 0.0
    with pytest.raises(ConfigError, match="found 100 objects"):
        choose_target(detector, NAMES, batch, "detection:100")
    with pytest.raises(ConfigError, match="proposals, 0 is the best"):
        choose_target(detector, NAMES, batch, "proposal:99999")
    for text in ("detection:x", "detection:0:z1", "mask:-1", "proposal:0:x1:y"):
        with pytest.raises(ConfigError, match="is not understood"):
            choose_target(detector, NAMES, batch, text)
    assert _found(traced, NAMES) == f"it found {tally}" and len(tally) > 5


def test_detectors_without_shared_maps_are_refused():
    model = rcnn(small(), 3).eval()
    batch = batch_of(IMAGE, model.resize)
    with pytest.raises(ConfigError, match="windows of shared maps"):
        choose_target(model, NAMES, batch)
    plain = faster_rcnn(small(), 3, short=96, long=128).eval()
    with pytest.raises(ConfigError, match="detectors with masks"):
        choose_target(plain, NAMES, batch_of(IMAGE, plain.resize), "mask:0")


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    model = fcn(small(), 3, stride=8).eval()
    for parameter in model.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_pixels_and_segments(segmenter):
    batch, images = viewed(segmenter)
    found = segmenter.segment(batch, [(70, 90)])[0]
    target = choose_target(segmenter, NAMES, batch, "pixel:30:20", (70, 90))
    assert target.point == (30, 20)
    torch.testing.assert_close(target.probability(images)[0], found.scores[20, 30])
    other = choose_target(segmenter, NAMES, batch, "pixel:30:20:car", (70, 90))
    assert torch.equal(other.score(images), segmenter.scores(images)[:, 2, 20, 30])
    own = int(found.labels.flatten().bincount().argmax())
    whole = choose_target(segmenter, NAMES, batch)
    mask = found.labels == own
    torch.testing.assert_close(whole.score(images)[0], segmenter.scores(images)[0, own, :70, :90][mask].mean())
    assert gradient(whole.score, images).abs().sum() > 0
    shares = segmenter.scores(images)[0, :, :70, :90].softmax(dim=0)
    assert own > 0, "class 0 would be found by mistake too"
    torch.testing.assert_close(whole.probability(images)[0], shares[own][mask].mean())
    assert f"{float(mask.float().mean()):.0%}" in whole.title
    for text, words in (("pixel:90:1", "90 x 70 pixels"), ("pixel:a:b", "whole numbers"), ("pixel:3", "whole numbers"),
                        ("tree", "no class of this model")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            choose_target(segmenter, NAMES, batch, text, (70, 90))


def test_pixels_are_those_of_the_file():
    """The network may see a smaller picture."""
    torch.manual_seed(0)
    model = fcn(small(), 3, stride=8, short=35).eval()
    batch, _ = viewed(model)
    assert batch.sizes.tolist() == [[35, 45]]
    assert choose_target(model, NAMES, batch, "pixel:89:69", (70, 90)).point == (44, 34)


def test_a_class_that_no_pixel_has():
    scores = torch.zeros(1, 3, 8, 8)
    scores[:, 0], scores[:, 1, :2] = 1, 2
    with pytest.raises(ConfigError, match="target=c: no pixel of this picture was given that class; there are a, b"):
        segment_target(
            SimpleNamespace(scores=lambda images: scores), torch.zeros(1, 3, 8, 8), (8, 8), ("a", "b", "c"), 2
        )


def test_the_count_of_a_counter():
    torch.manual_seed(0)
    model = counter(small(), 1).eval()
    batch, images = viewed(model)
    target = choose_target(model, ("people",), batch)
    torch.testing.assert_close(
        float(target.score(images).detach()[0]), model.count(batch, [(70, 90)])[0].count, atol=1e-3, rtol=1e-3
    )
    with pytest.raises(ConfigError, match="the count is explained"):
        choose_target(model, ("people",), batch, "cat")


def test_classes_are_found_by_name_and_the_nearest_are_named():
    names = ["golden retriever", "tabby", "tiger cat"]
    assert class_index(names, "Tabby", "") == 1
    with pytest.raises(ConfigError, match="did you mean golden retriever"):
        class_index(names, "goldn retriever", "a class")
    with pytest.raises(ConfigError, match="did you mean golden retriever"):
        class_index(names, "retriever", "a class")
    with pytest.raises(ConfigError, match="classes are golden retriever, tabby, tiger cat"):
        class_index(names, "xyz", "a class")

"""The road of the proposals: every step follows from the one before it, by the model's own numbers."""

import pytest
import torch

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.explain.detection_targets import traced_detections
from visionkit.explain.proposal_road import proposal_road
from visionkit.models.build import fast_rcnn, faster_rcnn
from visionkit.models.pixels import batch_of
from visionkit.ops.boxes import iou


def pyramid(weights=None, norm="batch"):
    return build_fpn(
        lambda weights, norm: basic_resnet((8, 8, 16, 16), weights=weights, norm="batch"), channels=16, hidden=32
    )


@pytest.fixture(scope="module")
def seen():
    torch.manual_seed(0)
    model = faster_rcnn(pyramid(), 3, short=96, long=128, score_threshold=0.0).eval()
    torch.nn.init.normal_(model.propose.head.bbox_pred.weight, std=0.3)
    torch.nn.init.normal_(model.propose.head.cls_logits.weight, std=0.3)
    return model, batch_of(torch.randint(0, 256, (96, 128, 3), dtype=torch.uint8).numpy(), model.resize)


def test_every_proposal_is_a_moved_anchor_with_its_score(seen):
    road = proposal_road(*seen)
    moved = torch.cat((road.moved, road.top_scores[:, None]), dim=1)  # (n, 5)
    kept = torch.cat((road.proposals, road.proposal_scores[:, None]), dim=1)  # (P, 5)
    assert len(kept) > 20
    assert float((kept[:, None] - moved).abs().amax(dim=2).amin(dim=1).max()) < 1e-3
    assert (road.top_scores.diff() <= 0).all() and (road.proposal_scores.diff() <= 0).all()


def test_anchors_lie_where_their_boxes_are(seen):
    """Small moves: with deltas near 0 an anchor and its box are the same, whatever the order."""
    model, batch = seen
    before = {name: value.clone() for name, value in model.propose.head.bbox_pred.state_dict().items()}
    for parameter in model.propose.head.bbox_pred.parameters():
        parameter.data.zero_()
    road = proposal_road(model, batch)
    model.propose.head.bbox_pred.load_state_dict(before)
    inside = (road.top[:, :2] >= 0).all(dim=1) & (road.top[:, 2] <= 128) & (road.top[:, 3] <= 96)
    assert inside.sum() > 20
    torch.testing.assert_close(road.moved[inside], road.top[inside], atol=1e-3, rtol=0)


def test_regions_are_proposals_and_objectness_is_the_best_of_a_cell(seen):
    model, batch = seen
    road = proposal_road(model, batch)
    assert torch.equal(road.regions, traced_detections(model, batch).regions) and len(road.regions)
    assert float(iou(road.regions, road.proposals).amax(dim=1).min()) > 0.999
    assert sum(road.anchors.values()) == 3 * sum(values.numel() for values in road.objectness.values())
    best = max(float(values.max()) for values in road.objectness.values())
    assert best == pytest.approx(float(road.top_scores[0]), abs=1e-6)


def test_other_detectors_have_none():
    model = fast_rcnn(basic_resnet((8, 8, 16, 16)), 3, short=96, long=128).eval()
    with pytest.raises(ConfigError, match="with a region proposal network"):
        proposal_road(model, batch_of(torch.zeros(96, 128, 3, dtype=torch.uint8).numpy(), model.resize))

"""The box head: losses against a direct computation, detection against a plain loop, nothing in and nothing out."""

import torch
import torch.nn.functional as F

from visionkit.heads.box import BoxHead
from visionkit.ops.deltas import decode, encode
from visionkit.ops.nms import nms_reference
from visionkit.structures import Proposals, Regions

K = 3


def regions(count: int) -> Regions:
    torch.manual_seed(1)
    corner = torch.rand(count, 2) * 50
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2) * 30], dim=1)
    labels = torch.arange(count) % (K + 1)
    weights = (torch.arange(count) % 5 != 4).float()
    zeros = torch.zeros(count, dtype=torch.int64)
    return Regions(boxes, zeros, labels, boxes + torch.randn(count, 4), zeros, weights)


def test_losses_equal_a_direct_computation():
    torch.manual_seed(0)
    head, some = BoxHead(8, K), regions(10)
    vectors = torch.randn(10, 8)
    losses = head.losses(vectors, some)
    logits, deltas = head(vectors)
    used = some.weights > 0
    count = used.sum()
    assert torch.allclose(
        losses["loss_class"], F.cross_entropy(logits[used], some.labels[used], reduction="sum") / count
    )
    total = torch.zeros(())
    for i in range(10):
        if used[i] and some.labels[i] < K:
            goal = encode(some.boxes[i], some.matched[i], head.stds)
            total = total + F.smooth_l1_loss(deltas[i, some.labels[i]], goal, beta=1 / 9, reduction="sum")
    assert torch.allclose(losses["loss_box"], total / count)


def test_no_regions_and_no_foreground():
    head = BoxHead(8, K)
    for some, vectors in ((regions(0), torch.zeros(0, 8)), (regions(4), torch.randn(4, 8))):
        background = torch.full_like(some.labels, K)
        nothing = Regions(some.boxes, some.image_index, background, some.matched, some.matched_index, some.weights)
        losses = head.losses(vectors, nothing)
        assert losses["loss_box"] == 0 and losses["loss_class"].isfinite()
        sum(losses.values()).backward()


def test_detection_equals_a_plain_loop():
    torch.manual_seed(2)
    head = BoxHead(8, K, score_threshold=0.2, max_detections=6)
    with torch.no_grad():
        head.cls_score.weight.normal_(std=1.0)
        head.bbox_pred.weight.normal_(std=0.1)
    some = regions(20)
    proposals = Proposals(some.boxes[None], torch.ones(1, 20), (torch.arange(20) % 7 != 6)[None])
    vectors = torch.randn(20, 8)
    with torch.no_grad():
        (found,) = head.detect(vectors, proposals, [(90, 80)])
        logits, deltas = head(vectors)
    expected = []
    for label in range(K):
        scores = logits.softmax(dim=1)[:, label]
        rows = ((scores > 0.2) & proposals.valid[0]).nonzero()[:, 0]
        boxes = decode(some.boxes[rows], deltas[rows, label], head.stds)
        limit = torch.tensor([80.0, 90.0, 80.0, 90.0])
        boxes = boxes.clamp(min=0).minimum(limit)
        sides = boxes[:, 2:] - boxes[:, :2]
        rows, boxes = rows[(sides > 1e-2).all(1)], boxes[(sides > 1e-2).all(1)]
        kept = nms_reference(boxes, scores[rows], 0.5)
        expected += [(scores[rows[j]].item(), label, boxes[j]) for j in kept.tolist()]
    expected.sort(key=lambda row: -row[0])
    expected = expected[:6]
    assert len(expected) > 3
    assert found.scores.tolist() == [row[0] for row in expected]
    assert found.labels.tolist() == [row[1] for row in expected]
    assert torch.allclose(found.boxes, torch.stack([row[2] for row in expected]), atol=1e-4)


def test_no_proposals_give_no_detections():
    head = BoxHead(8, K)
    nothing = Proposals(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool))
    found = head.detect(torch.zeros(0, 8), nothing, [(10, 10), (20, 20)])
    assert [len(d.boxes) for d in found] == [0, 0]

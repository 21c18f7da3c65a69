"""Heads with SVMs: softmax before the fit, margins after it, refined boxes; flags that travel in the checkpoint."""

import pytest
import torch

from visionkit.heads.box import BoxHead
from visionkit.heads.class_svms import ABSENT
from visionkit.heads.svm_box import SVMBoxHead, SVMScores
from visionkit.ops.deltas import decode
from visionkit.structures import Proposals, Regions

K, C, D = 3, 8, 5
SIZES = [(90, 80)]


def proposals(count: int) -> Proposals:
    corner = torch.rand(count, 2) * 40
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2) * 30], dim=1)
    return Proposals(boxes[None], torch.ones(1, count), torch.ones(1, count, dtype=torch.bool))


def rcnn_head(**settings) -> SVMBoxHead:
    return SVMBoxHead(C, D, K, **settings)


def planes() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(K, C), torch.randn(K)


def test_before_the_fit_softmax_scores_and_the_proposals_own_boxes():
    head, some, vectors = rcnn_head(score_threshold=0.0, nms_threshold=1.0), proposals(6), torch.randn(6, C + D)
    (found,) = head.detect(vectors, some, SIZES)
    softmax = head.cls_score(vectors[:, :C]).softmax(dim=1)[:, :K]
    assert torch.equal(found.scores, softmax.flatten().sort(descending=True).values)
    assert all((some.boxes[0] - box).abs().sum(dim=1).min() < 1e-3 for box in found.boxes)


def test_after_the_fit_sigmoids_of_margins_on_the_first_part_of_the_vector():
    head, some, vectors = rcnn_head(score_threshold=0.5, nms_threshold=1.0), proposals(9), torch.randn(9, C + D)
    weight, bias = planes()
    head.svms.set(weight, bias)
    (found,) = head.detect(vectors, some, SIZES)
    margins = vectors[:, :C] @ weight.T + bias
    assert len(found.scores) == (margins > 0).sum() > 0, "0.5 is on the plane"
    torch.testing.assert_close(found.scores, margins[margins > 0].sigmoid().sort(descending=True).values)


def test_boxes_are_refined_by_the_class_they_are_found_as_from_the_last_part_and_before_nms():
    head, some, vectors = rcnn_head(score_threshold=0.0, nms_threshold=1.0), proposals(4), torch.randn(4, C + D)
    weight, bias = torch.randn(K, 4, D) * 0.05, torch.randn(K, 4) * 0.05
    head.ridge.set(weight, bias)
    (found,) = head.detect(vectors, some, SIZES)
    for label in range(K):
        deltas = vectors[:, C:] @ weight[label].T + bias[label]
        expected = decode(some.boxes[0], deltas).clamp(min=0).minimum(torch.tensor([80.0, 90, 80, 90]))
        for box in found.boxes[found.labels == label]:
            assert (expected - box).abs().sum(dim=1).min() < 1e-3
    same = torch.zeros(K, 4)
    same[:, 2:] = 10.0  # every box grows beyond the picture, so NMS after the refinement leaves one a class
    head.ridge.set(torch.zeros(K, 4, D), same)
    head.nms_threshold = 0.3
    assert len(head.detect(vectors, some, SIZES)[0].boxes) == K


def test_what_the_regressors_see_may_be_the_vector_itself():
    head = SVMBoxHead(C, C, K)
    head.ridge.set(torch.ones(K, 4, C), torch.zeros(K, 4))
    vectors = torch.randn(2, C)
    torch.testing.assert_close(head(vectors)[1], vectors.sum(dim=1)[:, None, None].expand(2, K, 4))


def test_an_absent_class_never_fires():
    head = rcnn_head(score_threshold=0.0)
    weight, bias = planes()
    weight[1], bias[1] = 0, ABSENT
    head.svms.set(weight, bias)
    (found,) = head.detect(torch.randn(50, C + D), proposals(50), SIZES)
    assert set(found.labels.tolist()) == {0, 2}


def test_a_checkpoint_reproduces_which_of_them_detects():
    head, some, vectors = rcnn_head(), proposals(8), torch.randn(8, C + D)
    head.svms.set(*planes())
    head.ridge.set(torch.randn(K, 4, D) * 0.1, torch.zeros(K, 4))
    other = rcnn_head()
    before = other.detect(vectors, some, SIZES)[0]
    other.load_state_dict(head.state_dict())
    (ours,), (theirs,) = (one.detect(vectors, some, SIZES) for one in (head, other))
    assert all(torch.equal(getattr(ours, key), getattr(theirs, key)) for key in ("boxes", "scores", "labels"))
    assert len(before.boxes) != len(theirs.boxes) or not torch.equal(before.boxes, theirs.boxes)
    assert not [name for name, _ in head.named_parameters() if "cls_score" not in name], "what is fitted takes no step"


def test_fast_rcnn_with_svms_keeps_its_deltas():
    torch.manual_seed(1)
    head, some, vectors = SVMScores(C, K, score_threshold=0.0, nms_threshold=1.0), proposals(5), torch.randn(5, C)
    plain = BoxHead(C, K, score_threshold=0.0, nms_threshold=1.0)
    plain.load_state_dict({key: value for key, value in head.state_dict().items() if "svms" not in key})
    (ours,), (theirs,) = (one.detect(vectors, some, SIZES) for one in (head, plain))
    assert torch.equal(ours.boxes, theirs.boxes) and torch.equal(ours.scores, theirs.scores)
    head.svms.set(*planes())
    (after,) = head.detect(vectors, some, SIZES)
    assert torch.equal(after.boxes.sort(dim=0).values, theirs.boxes.sort(dim=0).values)
    torch.testing.assert_close(after.scores, head.svms(vectors).flatten().sort(descending=True).values)


def test_the_loss_is_softmax_alone_and_every_parameter_learns():
    head, vectors = rcnn_head(), torch.randn(6, C + D)
    zeros = torch.zeros(6, dtype=torch.int64)
    labels, boxes = torch.tensor([0, 1, 2, 3, 3, 3]), proposals(6).boxes[0]
    weights = torch.tensor([1.0, 1, 1, 1, 0, 1])
    losses = head.losses(vectors, Regions(boxes, zeros, labels, boxes, zeros, weights))
    used = weights > 0
    expected = torch.nn.functional.cross_entropy(head.cls_score(vectors[:, :C])[used], labels[used])
    assert losses.keys() == set(head.loss_names) == {"loss_class"}
    torch.testing.assert_close(losses["loss_class"], expected)
    losses["loss_class"].backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_nothing_in_nothing_out():
    head = rcnn_head()
    nothing = Proposals(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool))
    assert [len(one.boxes) for one in head.detect(torch.zeros(0, C + D), nothing, [(10, 10), (20, 20)])] == [0, 0]
    head.svms.set(*planes())
    head.ridge.set(torch.zeros(K, 4, D), torch.zeros(K, 4))
    assert [len(one.boxes) for one in head.detect(torch.zeros(0, C + D), nothing, [(10, 10), (20, 20)])] == [0, 0]
    none = Regions(*(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).long()), *(torch.zeros(0, 4),) * 1,
                   torch.zeros(0).long(), torch.zeros(0))  # fmt: skip
    assert head.losses(torch.zeros(0, C + D), none)["loss_class"] == 0


def test_planes_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="do not fit these classes"):
        rcnn_head().svms.set(torch.zeros(K + 1, C), torch.zeros(K + 1))
    with pytest.raises(ValueError, match="do not fit these classes"):
        rcnn_head().ridge.set(torch.zeros(K, 4, D + 1), torch.zeros(K, 4))

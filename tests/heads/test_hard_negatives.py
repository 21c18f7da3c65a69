"""The head that learns from its worst mistakes."""

import pytest
import torch

from visionkit.heads.box import BoxHead
from visionkit.heads.hard_negatives import HardNegativeHead
from visionkit.structures import Regions

K = 2


def regions(labels: list[int], images: list[int], weights: list[float] | None = None) -> Regions:
    count = len(labels)
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(count, 1)
    return Regions(
        boxes,
        torch.tensor(images, dtype=torch.int64),
        torch.tensor(labels, dtype=torch.int64),
        boxes + 1,
        torch.zeros(count, dtype=torch.int64),
        torch.ones(count) if weights is None else torch.tensor(weights),
    )


def head_that_reads(first: float = 1.0, **options) -> HardNegativeHead:
    """Its logit of class 0 is the vector's only number."""
    head = HardNegativeHead(1, K, **options)
    with torch.no_grad():
        head.cls_score.weight.zero_()
        head.cls_score.bias.zero_()
        head.cls_score.weight[0, 0] = first
    return head


def test_keeps_the_negatives_that_look_most_like_an_object():
    head = head_that_reads(ratio=2.0, least=1)
    some = regions([0, K, K, K, K, K], [0, 0, 0, 0, 0, 0])
    kept = head.keep_hardest(torch.tensor([[9.0], [0.1], [3.0], [-1.0], [4.0], [2.0]]), some)
    assert kept.weights.tolist() == [1, 0, 1, 0, 1, 0], "one positive, and two negatives for it"


def test_every_image_chooses_among_its_own():
    head = head_that_reads(ratio=1.0, least=1)
    labels, images = [K, K, K, 1, K, K], [0, 1, 0, 1, 1, 1]
    kept = head.keep_hardest(torch.tensor([[1.0], [5.0], [2.0], [0.0], [7.0], [6.0]]), regions(labels, images))
    assert kept.weights.tolist() == [0, 0, 1, 1, 1, 0]


def test_padding_is_never_chosen():
    head = head_that_reads(ratio=1.0, least=2)
    kept = head.keep_hardest(torch.tensor([[1.0], [9.0], [2.0]]), regions([K, K, K], [0, 0, 0], [1.0, 0.0, 1.0]))
    assert kept.weights.tolist() == [1, 0, 1]


def test_with_room_for_all_it_is_the_box_head():
    torch.manual_seed(0)
    head, plain = HardNegativeHead(6, K, ratio=1e3, least=100), BoxHead(6, K)
    plain.load_state_dict(head.state_dict())
    vectors, some = torch.randn(5, 6), regions([0, K, 1, K, K], [0, 0, 0, 1, 1])
    found, expected = head.losses(vectors, some), plain.losses(vectors, some)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    few = HardNegativeHead(6, K, ratio=0.5, least=1)
    few.load_state_dict(head.state_dict())
    assert few.losses(vectors, some)["loss_class"] > expected["loss_class"]


@pytest.mark.parametrize("count", [0, 4])
def test_no_objects_and_no_regions(count):
    head = HardNegativeHead(3, K, least=2)
    losses = head.losses(torch.randn(count, 3), regions([K] * count, [0] * count))
    assert losses["loss_box"] == 0 and losses["loss_class"].isfinite()
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())

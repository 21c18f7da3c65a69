import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionkit.ops.boxes import (
    area,
    clip,
    flip_horizontal,
    giou,
    intersection,
    intersection_over_area,
    iou,
    large_enough,
    scale,
    xywh_to_xyxy,
    xyxy_to_xywh,
)


def random_boxes(*shape: int, seed: int = 0, side: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(*shape, 2, 2, generator=generator) * side
    return torch.cat((corners.amin(-2), corners.amax(-2)), dim=-1)


coordinates = st.floats(-500, 500, width=32)
some_boxes = st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), min_size=0, max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
)


def test_known_values():
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 4.0, 5.0]])
    b = torch.tensor([[5.0, 0.0, 15.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    assert area(a).tolist() == [100.0, 20.0]
    assert intersection(a, b).tolist() == [[50.0, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(iou(a, b), torch.tensor([[1 / 3, 0.0], [0.0, 0.0]]))
    torch.testing.assert_close(intersection_over_area(b, a), torch.tensor([[0.5, 0.0], [0.0, 0.0]]))
    # hull of the far pair is 30 x 30 and 200 of it are covered
    torch.testing.assert_close(giou(a[:1], b), torch.tensor([[1 / 3, -700 / 900]]))


def test_iou_and_giou_equal_torchvision():
    from torchvision.ops import box_iou, generalized_box_iou

    a, b = random_boxes(40, seed=1), random_boxes(60, seed=2)
    assert torch.equal(iou(a, b), box_iou(a, b))
    torch.testing.assert_close(giou(a, b), generalized_box_iou(a, b), rtol=1e-5, atol=1e-6)


def test_leading_dimensions_broadcast():
    truths, anchors = random_boxes(2, 3, seed=3), random_boxes(7, seed=4)
    batched = iou(truths, anchors)  # (2, 3, 7)
    assert batched.shape == (2, 3, 7)
    for image in range(2):
        assert torch.equal(batched[image], iou(truths[image], anchors))
    assert giou(truths, anchors).shape == intersection_over_area(truths, anchors).shape == (2, 3, 7)


@settings(deadline=None, max_examples=60)
@given(some_boxes, some_boxes)
def test_iou_is_a_symmetric_fraction_for_any_boxes(a, b):
    overlap = iou(a, b)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    assert torch.equal(overlap, iou(b, a).T)
    assert ((intersection_over_area(a, b) >= 0) & (intersection_over_area(a, b) <= 1 + 1e-6)).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_degenerate_and_non_finite_boxes_overlap_nothing(bad):
    odd = torch.tensor(
        [[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 1.0, 1.0], [bad, 0.0, 10.0, 10.0], [bad] * 4, [-bad, -bad, bad, bad]]
    )
    for function in (iou, intersection_over_area):
        for result in (function(odd, odd), function(odd, random_boxes(3)), function(random_boxes(3), odd)):
            assert not result.isnan().any()
    assert (iou(odd[:2], odd[:2]) == 0).all()
    assert (iou(odd, random_boxes(5))[[0, 1, 3]] == 0).all()
    assert (area(odd[:2]) == 0).all()


def test_gradients_of_iou_and_giou():
    a = random_boxes(3, seed=5).double().requires_grad_()
    b = random_boxes(4, seed=6).double().requires_grad_()
    assert torch.autograd.gradcheck(iou, (a, b))
    assert torch.autograd.gradcheck(giou, (a, b))
    for function in (iou, giou):
        # A point, lines, an inverted box: still a finite gradient.
        flat = torch.tensor([[0.0, 0, 0, 0], [0, 0, 5, 0], [3, 3, 7, 3], [5, 0, 5, 9], [9, 9, 1, 1], [0, 0, 9, 9]])
        flat.requires_grad_()
        function(flat, flat).sum().backward()
        assert flat.grad is not None and flat.grad.isfinite().all()


def test_iou_of_a_batch_of_anchors_fits_in_memory_and_leaves_its_arguments_alone():
    truths, anchors = random_boxes(4, 30, seed=7), random_boxes(60_000, seed=8)
    before = truths.clone(), anchors.clone()
    assert iou(truths, anchors).shape == (4, 30, 60_000)
    assert torch.equal(truths, before[0]) and torch.equal(anchors, before[1])


@settings(deadline=None, max_examples=60)
@given(some_boxes, st.floats(0, 500, width=32))
def test_flip_is_its_own_inverse(boxes, width):
    torch.testing.assert_close(flip_horizontal(flip_horizontal(boxes, width), width), boxes, rtol=0, atol=1e-3)


def test_flip_keeps_corners_in_order_and_takes_a_width_per_image():
    boxes = torch.tensor([[[1.0, 2.0, 4.0, 6.0]], [[1.0, 2.0, 4.0, 6.0]]])  # (2, 1, 4)
    assert flip_horizontal(boxes, torch.tensor([[10.0], [20.0]])).tolist() == [[[6, 2, 9, 6]], [[16, 2, 19, 6]]]


@settings(deadline=None, max_examples=60)
@given(some_boxes, st.floats(0.125, 8, width=32), st.floats(0.125, 8, width=32))
def test_scale_is_undone_by_the_reciprocal(boxes, vertical, horizontal):
    there = scale(boxes, (vertical, horizontal))
    torch.testing.assert_close(scale(there, (1 / vertical, 1 / horizontal)), boxes, rtol=1e-5, atol=1e-4)


def test_scale_takes_vertical_before_horizontal():
    assert scale(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), (10.0, 100.0)).tolist() == [[100, 20, 300, 40]]
    sizes = torch.tensor([[2.0, 3.0], [4.0, 5.0]])  # (2, 2), one pair per image
    assert scale(torch.ones(2, 1, 4), sizes[:, None]).tolist() == [[[3, 2, 3, 2]], [[5, 4, 5, 4]]]


@settings(deadline=None, max_examples=60)
@given(some_boxes)
def test_xywh_and_back(boxes):
    torch.testing.assert_close(xywh_to_xyxy(xyxy_to_xywh(boxes)), boxes, rtol=1e-6, atol=1e-3)
    assert xywh_to_xyxy(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist() == [[1, 2, 4, 6]]


@settings(deadline=None, max_examples=60)
@given(some_boxes)
def test_clip_stays_inside_and_is_idempotent(boxes):
    cut = clip(boxes, (80, 120))
    assert (cut >= 0).all() and (cut[:, 0::2] <= 120).all() and (cut[:, 1::2] <= 80).all()
    assert torch.equal(clip(cut, (80, 120)), cut)
    inside = boxes.abs().clamp(max=80)
    assert torch.equal(clip(inside, torch.tensor([80, 120])), inside)


def test_clip_with_a_size_per_image():
    boxes = torch.tensor([-5.0, -5.0, 50.0, 50.0]).expand(2, 3, 4)
    cut = clip(boxes, torch.tensor([[10, 20], [30, 40]])[:, None])
    assert cut[0, 0].tolist() == [0, 0, 20, 10] and cut[1, 2].tolist() == [0, 0, 40, 30]


def test_large_enough_includes_the_limit_and_excludes_nan():
    boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 3.9, 9], [9, 9, 1, 1], [float("nan"), 0, 9, 9]])
    assert large_enough(boxes, 4).tolist() == [True, False, False, False]


def test_empty():
    none, some = torch.zeros(0, 4), random_boxes(3)
    assert area(none).shape == (0,) and large_enough(none, 1).shape == (0,)
    for function in (intersection, iou, intersection_over_area, giou):
        assert function(none, some).shape == (0, 3) and function(some, none).shape == (3, 0)
    for moved in (clip(none, (3, 4)), flip_horizontal(none, 5), scale(none, (1, 2)), xywh_to_xyxy(none)):
        assert moved.shape == (0, 4)
    assert xyxy_to_xywh(none).shape == (0, 4)

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit.ops.deltas import decode, encode

STDS = (0.1, 0.1, 0.2, 0.2)


def boxes_from(rows):
    """(x, y, width, height) rows -> (N, 4) xyxy."""
    rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return torch.cat((rows[:, :2], rows[:, :2] + rows[:, 2:]), dim=1)


place, side = st.floats(-300, 1000, width=32), st.floats(10, 500, width=32)
row = st.tuples(place, place, side, side)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(row, row), max_size=8), st.sampled_from([(1.0, 1.0, 1.0, 1.0), STDS]))
def test_decode_inverts_encode(pairs, stds):
    anchors, boxes = boxes_from([p[0] for p in pairs]), boxes_from([p[1] for p in pairs])
    torch.testing.assert_close(decode(anchors, encode(anchors, boxes, stds), stds), boxes, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("stds", [(1.0, 1.0, 1.0, 1.0), STDS])
def test_equal_to_torchvisions_box_coder(stds):
    from torchvision.models.detection._utils import BoxCoder

    torch.manual_seed(0)
    coder = BoxCoder(tuple(1 / s for s in stds))
    anchors = boxes_from((torch.rand(200, 4) * 300 + 5).tolist())
    boxes = boxes_from((torch.rand(200, 4) * 300 + 5).tolist())
    torch.testing.assert_close(encode(anchors, boxes, stds), coder.encode_single(boxes, anchors), rtol=1e-5, atol=1e-5)
    deltas = torch.randn(200, 4) * 5  # some beyond the cut
    torch.testing.assert_close(
        decode(anchors, deltas, stds), coder.decode_single(deltas, anchors), rtol=1e-5, atol=1e-3
    )


def test_growth_is_cut_at_1000_over_16():
    anchor = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    wild = decode(anchor, torch.tensor([[0.0, 0.0, 50.0, 1e9]]))
    torch.testing.assert_close(wild[:, 2:] - wild[:, :2], torch.tensor([[1000.0, 1000.0]]))
    torch.testing.assert_close(
        decode(anchor, torch.tensor([[0.0, 0.0, math.log(2), -100.0]])), torch.tensor([[-8.0, 8.0, 24.0, 8.0]])
    )


def test_deltas_per_class_and_per_image():
    anchors = boxes_from((torch.rand(5, 4) * 50 + 5).tolist())
    deltas = torch.randn(5, 3, 4)
    per_class = decode(anchors[:, None], deltas, STDS)  # (5, 3, 4)
    for k in range(3):
        assert torch.equal(per_class[:, k], decode(anchors, deltas[:, k], STDS))
    boxes = boxes_from((torch.rand(10, 4) * 50 + 5).tolist()).view(2, 5, 4)
    assert torch.equal(encode(anchors, boxes)[1], encode(anchors, boxes[1]))


def test_degenerate_boxes_give_finite_targets():
    # Padded truths are zeros; their targets are multiplied by 0 later, which must not make NaN of infinity.
    odd = torch.tensor([[0.0, 0, 0, 0], [5, 5, 5, 9], [9, 9, 1, 1]])
    good = boxes_from([(1, 2, 30, 40)])
    for targets in (encode(good, odd), encode(odd, good), encode(odd, odd)):
        assert targets.isfinite().all()


def test_gradient_flows_to_deltas():
    anchors = boxes_from([(1, 2, 30, 40), (5, 5, 8, 9)]).double()
    deltas = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: decode(anchors, d, STDS), (deltas,))


def test_empty():
    none = torch.zeros(0, 4)
    assert encode(none, none).shape == decode(none, none).shape == (0, 4)
    assert decode(torch.zeros(0, 1, 4), torch.zeros(0, 3, 4)).shape == (0, 3, 4)

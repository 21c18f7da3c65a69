import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import visionkit.ops.nms as module
from visionkit.ops.nms import batched_nms, nms, nms_reference


def crowded(count, seed=0, levels=None, spread=200.0, side=40.0):
    """Boxes (count, 4) that overlap a lot, and scores; with `levels` only so many different ones, so ties."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * spread
    boxes = torch.cat((corner, corner + 1 + torch.rand(count, 2, generator=generator) * side), dim=1)
    scores = torch.rand(count, generator=generator)
    return boxes, scores if levels is None else (scores * levels).floor() / levels


def test_known_values():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 5]])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.3])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]  # 5/9 of the last is under the first: gone as well
    assert nms(boxes, scores, 0.6).tolist() == [1, 3, 2]
    assert nms(boxes, scores, 0.6, max_keep=2).tolist() == [1, 3]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_reference_kernel_and_torchvision_agree(threshold):
    from torchvision.ops import nms as theirs

    for seed in range(4):
        boxes, scores = crowded(300, seed, levels=None if seed % 2 else 20)
        boxes = boxes.round()  # overlaps that hit the threshold exactly
        expected = theirs(boxes, scores, threshold)
        assert torch.equal(nms_reference(boxes, scores, threshold), expected)
        assert torch.equal(nms(boxes, scores, threshold), expected)


def test_an_overlap_equal_to_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    for function in (nms, nms_reference):
        assert function(boxes, torch.tensor([1.0, 0.5]), 0.5).tolist() == [0, 1]
        assert function(boxes, torch.tensor([1.0, 0.5]), 0.499).tolist() == [0]


def test_the_threshold_is_not_rounded_to_float32():
    from torchvision.ops import nms as theirs

    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]])  # 3/10 in float32 is a little more than 0.3
    for function in (nms, nms_reference, theirs):
        assert function(boxes, torch.tensor([1.0, 0.5]), 0.3).tolist() == [0]


@pytest.mark.parametrize("levels", [None, 50, 1])
@pytest.mark.parametrize("threshold", [0.1, 0.7])
def test_prefix_is_identical_to_full(levels, threshold):
    boxes, scores = crowded(3000, seed=3, levels=levels)
    full = nms(boxes, scores, threshold)
    for most in (1, 2, 7, 50, 300, 1400, len(full), len(full) + 1, 3000, 10_000):
        assert torch.equal(nms(boxes, scores, threshold, max_keep=most), full[:most])


def test_prefix_runs_the_kernel_on_few_boxes(monkeypatch):
    boxes, scores = crowded(4000, seed=4, spread=5000.0)  # few overlaps
    sizes = []
    original = module._nms_sorted
    monkeypatch.setattr(module, "_nms_sorted", lambda b, t: sizes.append(len(b)) or original(b, t))
    assert len(nms(boxes, scores, 0.7, max_keep=100)) == 100
    assert sizes == [200]


def test_ties_go_to_the_lower_index():
    boxes, _ = crowded(500, seed=5)
    one = torch.zeros(500)
    kept = nms(boxes, one, 0.3)
    assert kept[0] == 0 and torch.equal(kept, kept.sort().values)
    assert torch.equal(
        batched_nms(boxes, one, torch.arange(500) % 3, 0.3),
        batched_nms(boxes, one, torch.arange(500) % 3, 0.3).sort().values,
    )


@pytest.mark.parametrize("count", [900, 1100, 2500])  # both sides of the switch, which is torchvision's
def test_batched_equals_torchvision(count):
    from torchvision.ops import batched_nms as theirs

    boxes, scores = crowded(count, seed=6)
    groups = torch.randint(7, (count,), generator=torch.Generator().manual_seed(0)) * 3
    expected = theirs(boxes, scores, groups, 0.5)
    assert torch.equal(batched_nms(boxes, scores, groups, 0.5), expected)
    for most in (1, 40, 10_000):
        assert torch.equal(batched_nms(boxes, scores, groups, 0.5, max_keep=most), expected[:most])


@pytest.mark.parametrize("levels", [None, 10])
def test_both_ways_of_grouping_agree(levels):
    boxes, scores = crowded(800, seed=7, levels=levels)
    boxes = (boxes - 100).round()  # negative coordinates as well; whole numbers, which offsets do not round
    groups = torch.arange(800) % 5
    for most in (None, 30):
        assert torch.equal(
            batched_nms(boxes, scores, groups, 0.4, most), module._nms_by_group(boxes, scores, groups, 0.4, most)
        )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 40), st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.8]))
def test_kept_boxes_do_not_overlap_and_dropped_ones_do(count, seed, threshold):
    from visionkit.ops.boxes import iou

    boxes, scores = crowded(count, seed, levels=8)
    kept = nms(boxes, scores, threshold)
    overlap = iou(boxes, boxes)
    among = overlap[kept][:, kept]
    assert (among - torch.diag(among.diagonal()) <= threshold).all()
    dropped = torch.ones(count, dtype=torch.bool).index_fill(0, kept, False)
    better = scores[kept][:, None] >= scores[None, dropped]
    assert ((overlap[kept][:, dropped] > threshold) & better).any(dim=0).all()


def test_degenerate_boxes_are_kept():
    boxes = torch.zeros(3, 4)
    for function in (nms, nms_reference):
        assert function(boxes, torch.tensor([0.1, 0.3, 0.2]), 0.5).tolist() == [1, 2, 0]


def test_the_reference_serves_without_torchvision(monkeypatch):
    boxes, scores = crowded(400, seed=8)
    groups = torch.arange(400) % 4
    expected = nms(boxes, scores, 0.5, max_keep=50), batched_nms(boxes, scores, groups, 0.5)
    monkeypatch.setattr(module, "torchvision_ops", lambda: None)
    assert torch.equal(nms(boxes, scores, 0.5, max_keep=50), expected[0])
    assert torch.equal(batched_nms(boxes, scores, groups, 0.5), expected[1])


@pytest.mark.parametrize("most", [None, 0, 5])
def test_empty(most):
    boxes, scores, groups = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    for kept in (nms(boxes, scores, 0.5, most), batched_nms(boxes, scores, groups, 0.5, most)):
        assert kept.shape == (0,) and kept.dtype == torch.int64
    assert nms_reference(boxes, scores, 0.5).shape == (0,)
    some = crowded(3)
    assert nms(*some, 0.5, max_keep=0).shape == (0,)

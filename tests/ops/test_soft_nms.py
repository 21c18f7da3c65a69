"""Soft-NMS against a plain loop, and its two limits: nothing overlaps, everything overlaps."""

import math

import torch

from visionkit.ops.boxes import iou
from visionkit.ops.soft_nms import soft_nms


def plain(boxes, scores, groups, sigma, threshold):
    """The paper's figure 2, with Python lists."""
    left = {i: float(scores[i]) for i in range(len(boxes))}
    kept = []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        if left[best] <= threshold:
            break
        kept.append((best, left.pop(best)))
        for i in left:
            if groups[i] == groups[best]:
                left[i] *= math.exp(-(float(iou(boxes[best][None], boxes[i][None])) ** 2) / sigma)
    return kept


def test_equals_a_plain_loop():
    torch.manual_seed(0)
    corner = torch.rand(60, 2) * 40
    boxes = torch.cat([corner, corner + 5 + torch.rand(60, 2) * 30], dim=1)
    scores, groups = torch.rand(60), torch.randint(0, 3, (60,))
    keep, lowered = soft_nms(boxes, scores, groups, 0.5, 0.05)
    expected = plain(boxes, scores, groups, 0.5, 0.05)
    assert keep.tolist() == [i for i, _ in expected]
    assert torch.allclose(lowered, torch.tensor([value for _, value in expected]), atol=1e-5)
    assert (lowered[:-1] >= lowered[1:]).all() and len(keep) > 10
    assert soft_nms(boxes, scores, groups, 0.5, 0.05, max_keep=7)[0].tolist() == keep[:7].tolist()


def test_copies_fade_and_strangers_stay():
    box = torch.tensor([[0.0, 0, 10, 10]])
    boxes, scores = box.repeat(3, 1), torch.tensor([0.9, 0.8, 0.7])
    keep, lowered = soft_nms(boxes, scores, torch.zeros(3, dtype=torch.int64), score_threshold=0.0)
    assert keep.tolist() == [0, 1, 2]
    assert torch.allclose(lowered, scores * torch.exp(torch.tensor([0.0, -2.0, -4.0])))
    keep, lowered = soft_nms(boxes, scores, torch.arange(3))
    assert torch.equal(lowered, scores), "other classes leave each other alone"


def test_nothing():
    keep, lowered = soft_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert keep.shape == (0,) and keep.dtype == torch.int64 and lowered.shape == (0,)
    assert (
        len(soft_nms(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([0.01]), torch.zeros(1, dtype=torch.int64))[0]) == 0
    )

"""The best anchor of each object, against the IoU with every anchor there is."""

import torch

from visionkit.ops.anchor_coverage import best_anchor_iou
from visionkit.ops.anchors import cell_anchors, grid_anchors
from visionkit.ops.boxes import iou

STRIDES = (8, 16)


def test_equals_a_search_over_all_anchors():
    torch.manual_seed(0)
    height, width = 96, 128
    corner = torch.rand(200, 2) * torch.tensor([100.0, 70.0])
    boxes = torch.cat([corner, (corner + 2 + torch.rand(200, 2) * 60)], dim=1)
    boxes = boxes.minimum(torch.tensor([128.0, 96.0, 128.0, 96.0]))
    cells = [cell_anchors([16], (0.5, 1.0, 2.0), "round"), cell_anchors([32, 64], (1.0,), "round")]
    every = [
        grid_anchors(cell, (height // s, width // s), (s, s), boxes.device)
        for cell, s in zip(cells, STRIDES, strict=True)
    ]
    expected = iou(boxes, torch.cat(every)).amax(dim=1)
    found = best_anchor_iou(boxes, torch.tensor([[height, width]]).expand(200, 2), cells, STRIDES)
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(found.min()) < 0.2 < 0.6 < float(found.max())


def test_nothing():
    cells = [cell_anchors([16], (1.0,), "round")]
    assert best_anchor_iou(torch.zeros(0, 4), torch.zeros(0, 2, dtype=torch.int64), cells, (8,)).shape == (0,)

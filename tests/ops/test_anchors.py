import pytest
import torch

from visionkit.ops.anchors import caffe_anchors, cell_anchors, grid_anchors

NINE = [
    [-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200],
    [-55, -55, 72, 72], [-119, -119, 136, 136], [-247, -247, 264, 264],
    [-35, -79, 52, 96], [-79, -167, 96, 184], [-167, -343, 184, 360],
]  # fmt: skip


def test_the_nine_caffe_anchors():
    assert caffe_anchors().tolist() == NINE
    assert caffe_anchors(first_pixel=0).tolist() == [[side - 1 for side in row] for row in NINE]
    assert caffe_anchors(base=16, scales=(16,), ratios=(1,)).tolist() == [NINE[4]]


def test_cell_anchors_have_the_stated_areas_and_ratios():
    sizes, ratios = (32.0, 100.0), (0.5, 1.0, 2.0)
    anchors = cell_anchors(sizes, ratios).view(3, 2, 4)
    width, height = (anchors[..., 2:] - anchors[..., :2]).unbind(-1)  # (3, 2)
    torch.testing.assert_close(width * height, torch.tensor([[32.0**2, 100.0**2]]).expand(3, 2))
    torch.testing.assert_close(height / width, torch.tensor([[0.5], [1.0], [2.0]]).expand(3, 2))
    assert (anchors[..., :2] == -anchors[..., 2:]).all()


def test_equal_to_torchvisions_generator():
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    sizes, ratios = ((32, 48), (64, 100)), ((0.5, 1.0, 2.0), (0.3, 1.0, 3.0))
    maps = [torch.zeros(1, 1, 6, 9), torch.zeros(1, 1, 3, 5)]
    images = ImageList(torch.zeros(1, 3, 48, 72), [(48, 72)])
    theirs = AnchorGenerator(sizes, ratios)(images, maps)[0]
    ours = [
        grid_anchors(cell_anchors(s, r, "round"), (h, w), (48 // h, 72 // w))  # torchvision's strides, 72 // 5 = 14 too
        for s, r, (h, w) in zip(sizes, ratios, [m.shape[2:] for m in maps], strict=True)
    ]
    assert torch.equal(torch.cat(ours), theirs)


def test_grid_order_is_y_x_anchor():
    cell = torch.tensor([[-1.0, -1.0, 1.0, 1.0], [-2.0, -1.0, 2.0, 1.0]])
    grid = grid_anchors(cell, (2, 3), 8).view(2, 3, 2, 4)
    assert grid[1, 2, 0].tolist() == [15, 7, 17, 9]
    assert grid[0, 1, 1].tolist() == [6, -1, 10, 1]
    assert torch.equal(grid[0, 0], cell)


def test_device_argument():
    assert grid_anchors(torch.zeros(1, 4), (1, 2), 4, device="meta").device.type == "meta"


def test_empty_and_wrong():
    assert cell_anchors((), (1.0,)).shape == (0, 4)
    assert grid_anchors(cell_anchors((8,), (1.0,)), (0, 5), 4).shape == (0, 4)
    assert grid_anchors(torch.zeros(0, 4), (2, 2), 4).shape == (0, 4)
    with pytest.raises(ValueError, match="floor"):
        cell_anchors((8,), (1,), "floor")

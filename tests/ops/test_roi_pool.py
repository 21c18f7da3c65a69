from collections import OrderedDict

import pytest
import torch

import visionkit.ops.roi_pool as module
from visionkit.ops.roi_pool import assign_levels, roi_align, roi_align_reference, roi_pool, roi_pool_reference

BAD = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e5]


def random_boxes(count, height, width, seed=0):
    """(count, 4), tiny to larger than the image, some reaching outside of it."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    half = torch.exp(torch.rand(count, 2, generator=generator) * 5) / 2
    return torch.cat((center - half, center + half), dim=1)


def random_maps(shapes, channels=5, batch=2, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, channels, *s, generator=generator).to(dtype).requires_grad_() for s in shapes]


def rois(boxes, image_index):
    return torch.cat((image_index[:, None].float(), boxes), dim=1)


def gradients(pooled, maps, seed=0):
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(seed)).to(pooled.dtype)
    return torch.autograd.grad(pooled, maps, upstream, retain_graph=True)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("window", "sampling"), [(7, 2), (14, 2), (3, 1), (2, 3)])
def test_roi_align_equals_torchvisions_kernel(aligned, window, sampling):
    from torchvision.ops import roi_align as theirs

    maps = random_maps([(13, 17)])
    boxes, image_index = random_boxes(60, 104, 136), torch.arange(60) % 2
    expected = theirs(maps[0], rois(boxes, image_index), (window, window), 1 / 8, sampling, aligned)
    pooled = roi_align(maps, boxes, image_index, [8], window, sampling, aligned=aligned)
    assert pooled.shape == (60, 5, window, window)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(gradients(pooled, maps)[0], gradients(expected, maps)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("window", [7, 3])
def test_adaptive_sampling_equals_torchvisions_kernel(aligned, window):
    from torchvision.ops import roi_align as theirs

    maps = random_maps([(23, 37)])
    boxes, image_index = random_boxes(60, 184, 296), torch.arange(60) % 2
    boxes[3, 2:] = boxes[3, :2]  # a point: its bins have no length
    boxes[5] = torch.tensor([0.0, 0.0, 296.0, 184.0])  # the whole picture, several samples a bin
    boxes[6] = torch.tensor([0.0, 10.0, 296.0, 12.0])  # many across, one down
    expected = theirs(maps[0], rois(boxes, image_index), (window, window), 1 / 8, 0, aligned)
    pooled = roi_align(maps, boxes, image_index, [8], window, 0, aligned=aligned)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(gradients(pooled, maps)[0], gradients(expected, maps)[0], rtol=1e-4, atol=1e-4)
    fixed = roi_align(maps, boxes, image_index, [8], window, 2, aligned=aligned)
    assert (fixed - pooled)[5].abs().max() > 0.1  # the whole picture is what adaptive sampling is for


def test_adaptive_sampling_over_a_pyramid_is_that_of_each_level():
    maps = random_maps([(32, 40), (16, 20), (8, 10)])
    boxes, image_index = random_boxes(40, 128, 160, seed=2), torch.arange(40) % 2
    level = torch.arange(40) % 3
    expected = module._align_by_kernel(maps, boxes, image_index, [4, 8, 16], 7, 0, level, True)
    pooled = roi_align(maps, boxes, image_index, [4, 8, 16], 7, 0, level, aligned=True)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=2e-5)
    half = [m.detach().bfloat16() for m in maps]
    assert roi_align(half, boxes, image_index, [4, 8, 16], 7, 0, level).dtype == torch.bfloat16


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_roi_align_over_a_pyramid_equals_torchvisions(layout):
    from torchvision.ops import MultiScaleRoIAlign

    shapes = [(64, 80), (32, 40), (16, 20), (8, 10)]
    maps = [m.detach().contiguous(memory_format=layout).requires_grad_() for m in random_maps(shapes)]
    boxes = random_boxes(80, 256, 320, seed=1)
    boxes[::7, 2:] += 300  # some for the coarser levels
    boxes[::14, 2:] += 300
    image_index = torch.arange(80) // 40
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    named = OrderedDict((str(i), m) for i, m in enumerate(maps))
    expected = theirs(named, [boxes[:40], boxes[40:]], [(256, 320)] * 2)
    pooled = roi_align(maps, boxes, image_index, [4, 8, 16, 32], 7)
    assert len(assign_levels(boxes, 2, 5).unique()) == 4
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=2e-5)
    for ours, other in zip(gradients(pooled, maps), gradients(expected, maps), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-4)


def test_the_kernels_road_gives_the_same():
    # What CUDA runs, here with torchvision's CPU kernel; the second level gets no box at all.
    maps = random_maps([(32, 40), (16, 20), (8, 10)])
    boxes, image_index = random_boxes(40, 128, 160, seed=2), torch.arange(40) % 2
    level = (torch.arange(40) % 2) * 2
    expected = roi_align_reference(maps, boxes, image_index, [4, 8, 16], 7, 2, level)
    pooled = module._align_by_kernel(maps, boxes, image_index, [4, 8, 16], 7, 2, level, False)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=2e-5)
    for a, b in zip(gradients(pooled, maps), gradients(expected, maps), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    half = [m.detach().bfloat16() for m in maps]
    for used in (1, 3):
        result = module._align_by_kernel(half[:used], boxes, image_index, [4, 8, 16][:used], 7, 2, level * 0, False)
        assert result.dtype == torch.bfloat16


def test_roi_align_of_a_plane_is_the_value_at_the_bin_centres():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    plane = (3 * y + 2 * x)[None, None]
    pooled = roi_align([plane], torch.tensor([[16.0, 8.0, 80.0, 72.0]]), torch.zeros(1, dtype=torch.int64), [4], 4)
    centers = torch.arange(4) * 4 + 2.0  # bins of four cells, from cell 4 (x) and 2 (y)
    expected = 3 * (2 + centers)[:, None] + 2 * (4 + centers)[None]
    torch.testing.assert_close(pooled[0, 0], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_roi_align_in_half_precision(dtype):
    shapes = [(32, 40), (16, 20)]
    exact = [m.detach().to(dtype).float().requires_grad_() for m in random_maps(shapes)]
    maps = [m.detach().to(dtype).requires_grad_() for m in exact]
    boxes, image_index = random_boxes(300, 128, 160, seed=3), torch.arange(300) % 2
    pooled = roi_align(maps, boxes, image_index, [4, 8], 7)
    expected = roi_align(exact, boxes, image_index, [4, 8], 7)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, expected.to(dtype))  # one rounding, at the end
    for ours, other in zip(gradients(pooled, maps), gradients(expected.to(dtype), exact), strict=True):
        assert ours.dtype == dtype and torch.equal(ours, other.to(dtype))


def test_roi_align_under_autocast():
    maps = random_maps([(8, 8)], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = roi_align(maps, random_boxes(4, 64, 64), torch.zeros(4, dtype=torch.int64), [8], 7)
    assert pooled.dtype == torch.bfloat16


def test_roi_align_repeats_bit_for_bit_under_deterministic_algorithms():
    maps = random_maps([(32, 40), (16, 20)], channels=64)
    boxes, image_index = random_boxes(400, 128, 160, seed=4), torch.arange(400) % 2
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(4):
            pooled = roi_align(maps, boxes, image_index, [4, 8], 7)
            runs.append((pooled.detach(), *gradients(pooled, maps)))
    finally:
        torch.use_deterministic_algorithms(False)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("bad", BAD)
def test_boxes_that_are_not_finite_or_huge_do_not_crash(bad):
    boxes = torch.tensor([[bad, 0, 9, 9], [0, 0, bad, 9], [0, 0, 9, bad], [bad] * 4, [-bad, -bad, bad, bad]])
    maps, image_index = random_maps([(8, 8), (4, 4)]), torch.zeros(5, dtype=torch.int64)
    level = assign_levels(boxes, 2, 3)
    assert ((level >= 0) & (level <= 1)).all()
    for pooled in (
        roi_align(maps, boxes, image_index, [4, 8], 7),
        roi_align(maps, boxes, image_index, [4, 8], 7, 0, aligned=True),
        module._align_by_kernel(maps, boxes, image_index, [4, 8], 7, 2, level, False),
        roi_pool(maps[0], boxes, image_index, 4, 7),
        roi_pool_reference(maps[0], boxes, image_index, 4, 7),
    ):
        assert pooled.isfinite().all()
        pooled.sum().backward()


def test_a_region_does_not_depend_on_what_else_is_pooled():
    maps = random_maps([(32, 40), (16, 20)], batch=3)
    boxes, image_index = random_boxes(50, 128, 160, seed=5), torch.arange(50) % 3
    whole = roi_align(maps, boxes, image_index, [4, 8], 7)
    of_one = image_index == 1
    alone = roi_align([m[1:2] for m in maps], boxes[of_one], torch.zeros_like(image_index[of_one]), [4, 8], 7)
    assert torch.equal(whole[of_one], alone)


def test_boxes_get_no_gradient():
    boxes = random_boxes(3, 32, 32).requires_grad_()
    roi_align(random_maps([(8, 8)]), boxes, torch.zeros(3, dtype=torch.int64), [4], 2).sum().backward()
    assert boxes.grad is None


def test_one_stride_for_each_map():
    with pytest.raises(ValueError, match="one stride for each map"):
        roi_align(random_maps([(8, 8)]), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), [4, 8], 2)


def test_no_regions_keep_the_graph():
    boxes, image_index = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    level = torch.zeros(0, dtype=torch.int64)
    assert assign_levels(boxes, 2, 5).shape == (0,)
    pools = (
        lambda maps: roi_align(maps, boxes, image_index, [4, 8], 7),
        lambda maps: roi_align(maps, boxes, image_index, [4, 8], 7, 0),
        lambda maps: module._align_by_kernel(maps, boxes, image_index, [4, 8], 7, 2, level, False),
        lambda maps: roi_pool(maps[0], boxes, image_index, 4, 7),
        lambda maps: roi_pool_reference(maps[0], boxes, image_index, 4, 7),
    )
    for number, pool in enumerate(pools):
        maps = random_maps([(8, 8), (4, 4)])
        pooled = pool(maps)
        assert pooled.shape == (0, 5, 7, 7)
        pooled.sum().backward()
        for image_map in maps if number < 3 else maps[:1]:
            assert image_map.grad is not None and (image_map.grad == 0).all()


def test_levels_equal_torchvisions():
    from torchvision.ops.poolers import LevelMapper

    side = torch.tensor([0.0, 1, 55, 56, 111.99, 112, 223.9999, 224, 224.1, 447.99, 448, 896, 5000])
    boxes = torch.stack((torch.zeros(13), torch.zeros(13), side, side), dim=1)
    boxes = torch.cat((boxes, random_boxes(300, 1000, 1000, seed=6)))
    assert torch.equal(assign_levels(boxes, 2, 5), LevelMapper(2, 5)([boxes]))
    assert assign_levels(boxes[:13], 2, 5).tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 3]
    assert assign_levels(boxes[7:8], 3, 5, canonical=112).tolist() == [2]
    degenerate = torch.tensor([[9.0, 9, 1, 1], [5, 5, 5, 9]])  # two negative sides are no area
    assert assign_levels(degenerate, 2, 5).tolist() == [0, 0]


@pytest.mark.parametrize("window", [1, 6, 7])
def test_roi_pool_and_its_reference_equal_torchvisions_kernel(window):
    from torchvision.ops import roi_pool as theirs

    maps = random_maps([(13, 17)])
    boxes, image_index = random_boxes(40, 208, 272, seed=7), torch.arange(40) % 2
    boxes[:10] = (boxes[:10] / 8).round() * 8  # half cells: C rounds them away from zero
    boxes[10] = torch.tensor([-300.0, -300.0, -200.0, -200.0])  # wholly outside: all bins empty
    expected = theirs(maps[0], rois(boxes, image_index), (window, window), 1 / 16)
    assert (expected[10] == 0).all()
    for function in (roi_pool, roi_pool_reference):
        pooled = function(maps[0], boxes, image_index, 16, window)
        assert torch.equal(pooled, expected)
        torch.testing.assert_close(gradients(pooled, maps)[0], gradients(expected, maps)[0], rtol=1e-5, atol=1e-5)


def test_roi_pool_known_values():
    image_map = torch.arange(16.0).view(1, 1, 4, 4)
    pooled = roi_pool(image_map, torch.tensor([[0.0, 0.0, 3.0, 3.0]]), torch.zeros(1, dtype=torch.int64), 1, 2)
    assert pooled[0, 0].tolist() == [[5, 7], [13, 15]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_roi_pool_in_half_precision_and_without_torchvision(dtype, monkeypatch):
    maps = random_maps([(8, 8)], dtype=dtype)
    boxes, image_index = random_boxes(9, 64, 64, seed=8), torch.arange(9) % 2
    pooled = roi_pool(maps[0], boxes, image_index, 8, 3)
    assert pooled.dtype == dtype
    monkeypatch.setattr(module, "torchvision_ops", lambda: None)
    assert torch.equal(roi_pool(maps[0], boxes, image_index, 8, 3), pooled)

"""OverFeat's offset max pooling beside plain ways to the same windows."""

import pytest
import torch
import torch.nn.functional as F

from visionkit.ops.offset_pool import at_every_offset


def tail(size: int, stride: int, window: int):
    """Max pool, then a layer that sees `window` pooled cells a side; and how many cells that are before the pool."""
    kernel = torch.randn(5, 4, window, window)
    return kernel, lambda maps: F.conv2d(F.max_pool2d(maps, size, stride), kernel), size + (window - 1) * stride


@pytest.mark.parametrize("shape", [(13, 13), (14, 17), (20, 15), (6, 31)])
@pytest.mark.parametrize(("size", "stride", "window"), [(2, 2, 3), (3, 2, 2), (3, 3, 2), (2, 1, 3)])
def test_every_cell_equals_the_layers_on_its_window_alone(shape, size, stride, window):
    torch.manual_seed(0)
    _, layers, cells = tail(size, stride, window)
    maps = torch.randn(2, 4, *shape)
    found = at_every_offset(layers, maps, cells, stride)
    rows, columns = (side - cells + 1 for side in shape)
    assert found.shape == (2, 5, rows, columns)
    for y in range(rows):
        for x in range(columns):
            alone = layers(maps[:, :, y : y + cells, x : x + cells])[:, :, 0, 0]
            assert torch.allclose(found[:, :, y, x], alone, atol=1e-5), (y, x)


def test_equals_a_dense_pool_and_a_layer_with_holes():
    """The other road to the finer stride: pool at every cell, and spread the next layer's kernel."""
    torch.manual_seed(0)
    kernel, layers, cells = tail(2, 2, 3)
    maps = torch.randn(1, 4, 19, 24)
    holes = F.conv2d(F.max_pool2d(maps, 2, stride=1), kernel, dilation=2)
    assert torch.allclose(at_every_offset(layers, maps, cells, 2), holes, atol=1e-5)


def test_gradients_equal_those_of_every_window_alone():
    _, layers, cells = tail(2, 2, 2)
    maps = torch.rand(1, 4, 7, 8, requires_grad=True)
    found = at_every_offset(layers, maps, cells, 2)
    found.square().sum().backward()
    gradient, maps.grad = maps.grad, None
    each = [layers(maps[:, :, y : y + cells, x : x + cells]) for y in range(4) for x in range(5)]
    torch.stack(each).square().sum().backward()
    assert torch.allclose(gradient, maps.grad, rtol=1e-4, atol=1e-4)


def test_no_images():
    _, layers, cells = tail(2, 2, 2)
    assert at_every_offset(layers, torch.randn(0, 4, 6, 7), cells, 2).shape == (0, 5, 3, 4)

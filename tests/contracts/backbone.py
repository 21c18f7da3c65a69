"""The backbone contract as an assertion, for our networks and for anybody's own."""

import pytest
import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone


def assert_is_backbone(backbone: Backbone, sizes: tuple[tuple[int, int], ...] = ((64, 96), (75, 101))) -> None:
    """Checks every promise of `Backbone` on small images; leaves the backbone in eval mode."""
    backbone.eval()
    channels = 1 if backbone.color == "gray" else 3
    for height, width in sizes:
        _assert_stages(backbone, torch.rand(2, channels, height, width))
    image = torch.rand(1, channels, *sizes[0])
    _assert_names(backbone, image)
    _assert_tail(backbone)
    _assert_dense_tail(backbone)
    _assert_nothing_unused(backbone, image)


def _assert_stages(backbone: Backbone, images: Tensor) -> None:
    with torch.no_grad():
        maps = backbone(images, tuple(backbone.stages))
    assert tuple(maps) == tuple(backbone.stages)
    for name, stage in backbone.stages.items():
        count, channels, *shape = maps[name].shape
        assert (count, channels) == (len(images), stage.channels), name
        for cells, pixels in zip(shape, images.shape[2:], strict=True):
            assert abs(cells - pixels / stage.stride) < 1, f"{name}: {cells} cells for {pixels} px"
        assert torch.isfinite(maps[name]).all(), name


@torch.no_grad()
def _assert_names(backbone: Backbone, image: Tensor) -> None:
    assert set(backbone.region_stages) <= set(backbone.stages)
    assert set(backbone.proposal_stages) <= set(backbone.stages)
    everything = backbone(image, tuple(backbone.stages))
    all_run = _modules_run(backbone, image, tuple(backbone.stages))
    for name in backbone.stages:
        alone = backbone(image, (name,))
        assert tuple(alone) == (name,), "only the names asked for"
        torch.testing.assert_close(alone[name], everything[name])
    if len(backbone.stages) > 2:  # of two, the second may be the first one subsampled
        first_run = _modules_run(backbone, image, tuple(backbone.stages)[:1])
        assert first_run < all_run, "the first stage alone computes as much as everything"
    assert backbone(image, ()) == {}
    first, last = tuple(backbone.stages)[0], tuple(backbone.stages)[-1]
    assert tuple(backbone(image, (last, first))) == (last, first), "in the order asked for"
    with pytest.raises(KeyError, match=first):
        backbone(image, ("no such stage",))


def _modules_run(backbone: Backbone, image: Tensor, names: tuple[str, ...]) -> int:
    run: list[nn.Module] = []
    hooks = [m.register_forward_hook(lambda module, *_: run.append(module)) for m in backbone.modules()]
    backbone(image, names)
    for hook in hooks:
        hook.remove()
    return len(run)


@torch.no_grad()
def _assert_tail(backbone: Backbone) -> None:
    for name in backbone.region_stages:
        stage, window = backbone.stages[name], backbone.window
        windows = torch.rand(3, stage.channels, window, window)
        vectors = backbone.tail(windows)
        assert vectors.shape == (3, backbone.out_channels)
        torch.testing.assert_close(backbone.reduce(backbone.tail_maps(windows)), vectors)
        assert backbone.tail(windows[:0]).shape == (0, backbone.out_channels), "no regions"
        assert backbone.classifier(5)(vectors).shape == (3, 5)
        for side in (window, 2 * window):
            pooled = backbone.pool(torch.rand(2, stage.channels, side, side))
            assert backbone.tail(pooled).shape == (2, backbone.out_channels), "a whole image through the tail"
            assert side > window or pooled.shape[2:] in ((window, window), (side, side))


@torch.no_grad()
def _assert_dense_tail(backbone: Backbone) -> None:
    step, channels = backbone.dense_stride, backbone.stages[backbone.region_stages[0]].channels
    side = backbone.window * step  # what a window covers of the region map, for nets that pool it first
    region_map = torch.rand(1, channels, side + step, side + 2 * step)
    dense = backbone.dense_tail(region_map)
    assert dense.shape[:2] == (1, backbone.out_channels)
    if backbone.dense_exact:
        assert dense.shape[2:] == (2, 3)
        for i, j in ((0, 0), (1, 2)):
            window = region_map[:, :, i * step : i * step + side, j * step : j * step + side]
            torch.testing.assert_close(dense[:, :, i, j], backbone.tail(backbone.pool(window)), atol=1e-5, rtol=1e-4)


def _assert_nothing_unused(backbone: Backbone, image: Tensor) -> None:
    """Maps, regions and tail together use every parameter: else distributed training would stop."""
    backbone.zero_grad()
    maps = backbone(image, tuple(dict.fromkeys((*backbone.region_stages, *backbone.proposal_stages))))
    channels = backbone.stages[backbone.region_stages[0]].channels
    vectors = backbone.tail(torch.rand(2, channels, backbone.window, backbone.window))
    (sum(m.sum() for m in maps.values()) + vectors.sum()).backward()
    unused = [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused, f"never used: {unused}"
    backbone.zero_grad()

"""What every backbone promises, as assertions: for our networks, and for anybody's own before heads are put on it.

from visionkit.backbones.contract import assert_is_backbone
assert_is_backbone(MyNetwork())
"""

import copy
import io
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.errors import ConfigError


def assert_is_backbone(backbone: Backbone, sizes: Sequence[tuple[int, int]] | None = None) -> None:
    """Checks every promise of `Backbone` on small images; leaves weights and running statistics as they were.

    Args:
        backbone: on the CPU; left in eval mode.
        sizes: image sizes (height, width); by default one a little above the least that the network takes, and one
            with odd sides.
    Raises:
        AssertionError: says which promise is broken.
    """
    kept = copy.deepcopy(backbone.state_dict())
    backbone.eval()
    _assert_attributes(backbone)
    least = max(backbone.min_size, 2 * _coarsest(backbone))
    sizes = sizes or ((least, least + _coarsest(backbone)), (least + 11, least + 5))
    for size in sizes:
        _assert_stages(backbone, _images(backbone, 2, size))
    image = _images(backbone, 1, sizes[0])
    _assert_names(backbone, image)
    _assert_size_refused(backbone)
    _assert_tail(backbone)
    _assert_dense_tail(backbone)
    _assert_autocast(backbone, image)
    _assert_round_trip(backbone, image)
    for count in (2, 1):
        _assert_learns(backbone, _images(backbone, count, sizes[0]))
    backbone.load_state_dict(kept)
    backbone.eval()


def assert_compiles(backbone: Backbone, size: tuple[int, int] = (64, 64)) -> None:
    """torch.compile takes the trunk as one graph, and the graph gives the same maps."""
    backbone.eval()
    images, names = _images(backbone, 1, size), backbone.region_stages
    torch.compiler.reset()  # else the networks checked before count against its limit of recompilations
    compiled = torch.compile(lambda x: backbone(x, names), backend="eager", fullgraph=True)
    with torch.no_grad():
        _assert_same_maps(compiled(images), backbone(images, names))


def assert_exports(backbone: Backbone, size: tuple[int, int] = (64, 64)) -> None:
    """torch.export takes trunk and tail, and the exported program gives the same vectors."""
    whole = _Whole(backbone).eval()
    images = _images(backbone, 1, size)
    with torch.no_grad():
        exported = torch.export.export(whole, (images,)).module()
        torch.testing.assert_close(exported(images), whole(images), atol=1e-5, rtol=1e-4)


class _Whole(nn.Module):
    """Images to the tail's vectors, for a network with one region stage or more (the first is taken)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        name = self.backbone.region_stages[0]
        return self.backbone.tail(self.backbone.pool(self.backbone(images, (name,))[name]))


def _assert_attributes(backbone: Backbone) -> None:
    channels = {"rgb": 3, "gray": 1}.get(backbone.color)
    assert channels, f"color is rgb or gray, not {backbone.color}"
    assert len(backbone.mean) == len(backbone.std) == channels, f"mean and std of a {backbone.color} network"
    assert min(backbone.std) > 0, "std is above 0"
    assert backbone.min_size <= backbone.resolution, "a network takes the images that it was designed for"


def _images(backbone: Backbone, count: int, size: tuple[int, int]) -> Tensor:
    return torch.rand(count, 1 if backbone.color == "gray" else 3, *size)


def _coarsest(backbone: Backbone) -> int:
    return math.lcm(*(stage.stride for stage in backbone.stages.values()))


@torch.no_grad()
def _assert_stages(backbone: Backbone, images: Tensor) -> None:
    """Channels and strides are as stated: an image larger by k strides has k cells more, padded or not."""
    names, more = tuple(backbone.stages), _coarsest(backbone)
    maps = backbone(images, names)
    larger = backbone(_images(backbone, 1, (images.shape[2] + more, images.shape[3] + more)), names)
    assert tuple(maps) == names
    for name, stage in backbone.stages.items():
        assert maps[name].shape[:2] == (len(images), stage.channels), f"{name}: {tuple(maps[name].shape)}"
        for axis in (2, 3):
            cells, pixels = maps[name].shape[axis], images.shape[axis]
            assert 0 < cells < pixels / stage.stride + 1, f"{name}: {cells} cells for {pixels} px"
            grown = larger[name].shape[axis] - cells
            assert grown * stage.stride == more, f"{name}: {grown} cells more for {more} px more, stride {stage.stride}"
        assert torch.isfinite(maps[name]).all(), f"{name} is not finite"


@torch.no_grad()
def _assert_names(backbone: Backbone, image: Tensor) -> None:
    names = tuple(backbone.stages)
    assert set(backbone.region_stages) <= set(names), "region_stages are stages"
    assert set(backbone.proposal_stages) <= set(names), "proposal_stages are stages"
    everything, everything_run = _run(backbone, image, names)
    for name in names:
        alone = backbone(image, (name,))
        assert tuple(alone) == (name,), "only the names asked for"
        _assert_same_maps(alone, {name: everything[name]})
    if len(names) > 2:  # of two, the second may be the first one subsampled
        _, first_run = _run(backbone, image, names[:1])
        assert first_run < everything_run, f"{names[0]} alone computes as much as everything"
    assert backbone(image, ()) == {}, "no names, no maps"
    first, last = names[0], names[-1]
    assert tuple(backbone(image, (last, first))) == (last, first), "in the order asked for"
    try:
        backbone(image, ("no such stage",))
    except KeyError as error:
        assert first in str(error), "the KeyError of an unknown stage names those there are"
    else:
        raise AssertionError("an unknown stage is a KeyError")
    if backbone.innermost() is backbone:
        assert tuple(backbone.parts()) == names, "parts() has the stages"
        less = copy.deepcopy(backbone)
        less.drop_tail(names[:1])
        _assert_same_maps(less(image, names[:1]), {first: everything[first]})


def _run(backbone: Backbone, image: Tensor, names: tuple[str, ...]) -> tuple[dict[str, Tensor], int]:
    """The maps, and how many modules ran for them."""
    run: list[nn.Module] = []
    hooks = [m.register_forward_hook(lambda module, *_: run.append(module)) for m in backbone.modules()]
    maps = backbone(image, names)
    for hook in hooks:
        hook.remove()
    return maps, len(run)


@torch.no_grad()
def _assert_size_refused(backbone: Backbone) -> None:
    least = backbone.min_size
    name = backbone.region_stages[0]
    region_map = backbone(_images(backbone, 1, (least, least)), (name,))[name]
    assert backbone.tail(backbone.pool(region_map)).shape == (1, backbone.out_channels), "min_size"
    try:
        backbone(_images(backbone, 1, (least, least - 1)), (name,))
    except ConfigError as error:
        assert str(least) in str(error), "the refusal of a small image says what would fit"
    else:
        raise AssertionError(f"an image of {least} x {least - 1} is refused by min_size {least}")


@torch.no_grad()
def _assert_tail(backbone: Backbone) -> None:
    for name in backbone.region_stages:
        stage, window = backbone.stages[name], backbone.window
        windows = torch.randn(3, stage.channels, window, window)
        before = windows.clone()
        maps = backbone.tail_maps(windows)
        vectors = backbone.tail(windows)
        assert torch.equal(windows, before), "the tail leaves its windows as they are: others look at the same map"
        assert vectors.shape == (3, backbone.out_channels), f"tail: {tuple(vectors.shape)}"
        torch.testing.assert_close(backbone.reduce(maps), vectors)
        assert backbone.tail(windows[:0]).shape == (0, backbone.out_channels), "no regions"
        torch.testing.assert_close(backbone.tail(windows[:1]), vectors[:1], atol=1e-5, rtol=1e-4)
        assert backbone.new_classifier(5).eval()(maps).shape == (3, 5), "the classifier takes tail maps"
        for side in (window, 2 * window):
            pooled = backbone.pool(torch.rand(2, stage.channels, side, side))
            assert backbone.tail(pooled).shape == (2, backbone.out_channels), "a whole image through the tail"
            assert pooled.shape[2:] in ((window, window), (side, side)), "pool gives the window, or leaves the map"


@torch.no_grad()
def _assert_dense_tail(backbone: Backbone) -> None:
    """`dense_tail` gives the tail's maps on a map of exactly one window, and where it is exact, on every window."""
    channels = backbone.stages[backbone.region_stages[0]].channels
    step, side = backbone.dense_stride, backbone.dense_window
    region_map = torch.rand(1, channels, side + step, side + 2 * step)
    expected = backbone.tail_maps(backbone.pool(region_map[:, :, :side, :side]))
    alone = backbone.dense_tail(region_map[:, :, :side, :side])
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(backbone.reduce(alone), backbone.tail(backbone.pool(region_map[:, :, :side, :side])))
    dense, (height, width) = backbone.dense_tail(region_map), expected.shape[2:]
    more = backbone.dense_tail(torch.rand(1, channels, side + 3 * step, side + 4 * step))
    assert (more.shape[2], more.shape[3]) == (dense.shape[2] + 2, dense.shape[3] + 2), f"dense_stride is not {step}"
    if backbone.dense_exact:
        assert dense.shape[2:] == (height + 1, width + 2), f"dense tail: {tuple(dense.shape)}"
        for i, j in ((0, 0), (1, 2)):
            window = region_map[:, :, i * step : i * step + side, j * step : j * step + side]
            expected = backbone.tail_maps(backbone.pool(window))
            torch.testing.assert_close(
                dense[:, :, i : i + height, j : j + width], expected, atol=1e-5, rtol=1e-4, msg=f"window {i}, {j}"
            )


@torch.no_grad()
def _assert_autocast(backbone: Backbone, image: Tensor) -> None:
    names = tuple(backbone.stages)
    exact = backbone(image, names)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = backbone(image, names)
    for name in names:
        distance = (rounded[name].float() - exact[name]).norm() / exact[name].norm().clamp(min=1e-6)
        # Eight bits of mantissa add up to 0.33 over the 152 layers of an SE-ResNet with random weights.
        assert distance < 0.5, f"{name} under bf16 is off by {distance:.2f} of its norm"
    with torch.autocast("cpu", torch.bfloat16):
        region_map = rounded[backbone.region_stages[-1]]
        region_map = torch.rand(2, region_map.shape[1], backbone.dense_window, backbone.dense_window).to(
            region_map.dtype
        )
        vectors = backbone.tail(backbone.pool(region_map))
        logits = backbone.new_classifier(5).eval()(backbone.dense_tail(region_map))
    assert torch.isfinite(vectors).all() and torch.isfinite(logits).all(), "the tail under bf16"


@torch.no_grad()
def _assert_round_trip(backbone: Backbone, image: Tensor) -> None:
    file = io.BytesIO()
    torch.save(backbone.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(backbone)
    for value in other.state_dict().values():
        value.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    names = tuple(backbone.stages)
    _assert_same_maps(other(image, names), backbone(image, names))


def _assert_learns(backbone: Backbone, images: Tensor) -> None:
    """In training mode a gradient reaches every parameter, the first convolution's too: else distributed training
    would stop, or a layer would never learn."""
    backbone.train()
    backbone.zero_grad()
    maps = backbone(images, tuple(dict.fromkeys((*backbone.region_stages, *backbone.proposal_stages))))
    channels = backbone.stages[backbone.region_stages[0]].channels
    vectors = backbone.tail(torch.rand(len(images), channels, backbone.window, backbone.window))
    (sum(m.square().sum() for m in maps.values()) + vectors.square().sum()).backward()
    unused = [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused, f"never used: {unused}"
    weights = {f"{name}.weight" for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d)}
    first = next(((n, p) for n, p in backbone.named_parameters() if n in weights), None)
    if first is not None and first[1].requires_grad:
        largest = max(float(p.grad.abs().max()) for p in backbone.parameters() if p.grad is not None)
        assert first[1].grad is not None
        reached = float(first[1].grad.abs().max())
        frozen = any(isinstance(module, FrozenBatchNorm2d) for module in backbone.modules())  # no start without weights
        least = 0 if frozen else 1e-8 * largest
        assert reached > least, f"no gradient reaches {first[0]}: {reached:.1e} of {largest:.1e}"
    backbone.zero_grad()
    backbone.eval()


def _assert_same_maps(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)

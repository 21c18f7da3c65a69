"""Counters: golden losses, pictures of any size, padding that counts nothing, and that they learn."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from visionkit.backbones.alexnet import alexnet
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError
from visionkit.models.build_counter import counter
from visionkit.models.counter import Counter
from visionkit.ops.density import density_map
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize
from visionkit.structures import Batch, Targets


def small(**settings) -> Counter:
    torch.manual_seed(0)
    return counter(basic_resnet((8, 8, 16, 16)), 1, **{"hidden": 16, **settings})


def dots(counts: list[int], sizes: list[tuple[int, int]], canvas: tuple[int, int]) -> tuple[Batch, Targets]:
    """Bright squares of 4 pixels on dark noise, a point in the middle of each."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((len(counts), *canvas, 3), np.uint8)
    points, valid = (
        np.ones((len(counts), max(1, *counts), 3), np.float32),
        np.zeros((len(counts), max(1, *counts)), bool),
    )
    for i, (count, (height, width)) in enumerate(zip(counts, sizes, strict=True)):
        pixels[i, :height, :width] = rng.integers(0, 60, (height, width, 3))
        for j in range(count):
            x, y = int(rng.integers(2, width - 2)), int(rng.integers(2, height - 2))
            pixels[i, y - 2 : y + 2, x - 2 : x + 2] = 230
            points[i, j], valid[i, j] = (x, y, 3.0), True
    ids = torch.arange(len(counts))
    batch = Batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor(sizes), ids, ids)
    return batch, targets_of(torch.from_numpy(points), torch.from_numpy(valid))


def targets_of(points: torch.Tensor, valid: torch.Tensor) -> Targets:
    none = torch.zeros(len(points), 1, dtype=torch.int64)
    return Targets(torch.zeros(len(points), 1, 4), none, none > 0, none > 0, points=points, points_valid=valid)


def fixed(model: Counter) -> Counter:
    """Weights without random numbers, so that the golden losses survive changes of any generator."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + len(name)).float()
            fan = max(1, parameter[0].numel() if parameter.ndim > 1 else 1)
            base = 1.0 if parameter.ndim == 1 and "weight" in name else 0.0
            parameter.copy_((base + values * (1.2 * fan**-0.5 if parameter.ndim > 1 else 0.01)).view_as(parameter))
    return model


def test_golden_loss():
    model = fixed(small()).eval()
    losses = model(*dots([7, 0, 3], [(64, 64), (48, 64), (50, 37)], (64, 64)))
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(GOLDEN, rel=1e-4)
    assert set(losses) == set(model.loss_names)


GOLDEN = {"loss_density": 70.2188, "loss_count": 22.4104}


def test_losses_are_those_of_the_paper():
    """Half the sum of squares, a mean over pictures; the padding's cells are left out."""
    model = small(density_weight=3.0, count_weight=2.0).eval()
    batch, targets = dots([5, 2], [(64, 64), (32, 40)], (64, 64))
    losses = model(batch, targets)
    wanted = density_map(targets.points, targets.points_valid, batch.sizes, (8, 8), (8, 8))
    found = model.density(batch)
    assert (found[1, 4:].abs().sum() + found[1, :, 5:].abs().sum()).item() == 0
    squares = [((found[0] - wanted[0]) ** 2).sum(), ((found[1, :4, :5] - wanted[1, :4, :5]) ** 2).sum()]
    assert losses["loss_density"].item() == pytest.approx(3 * 0.5 * sum(squares).item() / 2, rel=1e-5)
    counts = found.sum(dim=(1, 2)).tolist()
    relative = (abs(counts[0] - 5) / 5 + abs(counts[1] - 2) / 2) / 2
    assert losses["loss_count"].item() == pytest.approx(2 * relative, rel=1e-5)
    alone = small(count_weight=0.0)
    assert alone.loss_names == ("loss_density",) == tuple(alone(batch, targets))


def test_pictures_without_objects():
    """A whole batch of them: finite losses, gradients for every parameter."""
    model = small()
    losses = model(*dots([0, 0], [(64, 64), (40, 64)], (64, 64)))
    sum(losses.values()).backward()
    assert losses["loss_density"].item() > 0 and losses["loss_count"].item() > 0
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_targets_without_points_are_refused():
    batch, targets = dots([1], [(64, 64)], (64, 64))
    with pytest.raises(ValueError, match="Targets.points"):
        small()(batch, replace(targets, points=None))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 40), (33, 65), (130, 97)])
def test_pictures_of_any_size(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    (found,) = small().predict([image])
    assert found.density.shape == (-(-height // 8), -(-width // 8))
    assert np.isfinite(found.count) and found.count >= 0


def test_one_by_one_or_batched():
    """Pictures on a larger canvas count the same but for what padding leaks over the border."""
    model = small().eval()
    batch, _ = dots([4, 9], [(64, 64), (64, 64)], (64, 64))
    together = model.count(batch, [(64, 64)] * 2)
    alone = model.predict([batch.pixels[i].permute(1, 2, 0).contiguous().numpy() for i in range(2)])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.density, other.density, rtol=1e-4, atol=1e-6)


def test_training_is_left_as_it_was():
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.predict([np.zeros((64, 64, 3), np.uint8)])
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_it_learns_to_count():
    """Three pictures by heart, one of them empty."""
    model = small()
    batch, targets = dots([9, 0, 4], [(64, 64), (64, 64), (48, 64)], (64, 64))
    optimizer = torch.optim.AdamW(model.train().parameters(), 4e-3)
    for _ in range(120):
        optimizer.zero_grad()
        sum(model(batch, targets).values()).backward()
        optimizer.step()
    found = [one.count for one in model.count(batch, [(64, 64), (64, 64), (48, 64)])]
    assert found == pytest.approx([9, 0, 4], abs=1.0)


PYRAMID = ("p2", "p3", "p4", "p5")


@pytest.mark.parametrize(
    ("backbone", "stages", "size"),
    [
        (lambda: basic_resnet((8, 8, 16, 16)), ("c3", "c4"), 64),
        (vgg11_bn_narrow, ("c4", "c5"), 64),
        (alexnet, ("c3", "c4"), 80),
        (lambda: build_fpn(partial(basic_resnet, (8, 8, 16, 16)), norm="batch", channels=8, extra=None), PYRAMID, 64),
    ],
)
def test_any_backbone(backbone, stages, size):
    """Their last maps of strides 8 and 16, or all of a pyramid; all parameters take part."""
    model = counter(backbone(), 1, hidden=8)
    assert tuple(model.head.stages) == stages
    (found,), stride = model.predict([np.zeros((size, size + 9, 3), np.uint8)]), model.head.stride
    assert stride == (4 if stages == PYRAMID else 8)
    assert found.density.shape == (size // stride, -(-(size + 9) // stride))
    batch, targets = dots([3, 4], [(size, size), (size, size)], (size, size))
    sum(model(batch, targets).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_sizes_and_stages_can_be_chosen():
    assert small().resize == KeepSize() and small(short=64).resize == TestResize(64, 512, multiple=1)
    assert tuple(small(stages=["c2", "c5"]).head.stages) == ("c2", "c5") and small(stages=["c4"]).head.stride == 16


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"stages": ["c9"]}, "c9 is no map of this backbone; it has c1"),
        ({"stages": ["c4", "c3"]}, "the finest first"),
        ({"stages": []}, "one or more maps"),
        ({"hidden": 0}, "hidden=0"),
        ({"convs": 1.5}, "convs=1.5"),
        ({"density_weight": -1}, "density_weight=-1"),
        ({"short": 10, "long": 5}, "short=10 is more than long=5"),
    ],
)
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        small(**settings)


def test_one_kind_of_object_alone():
    with pytest.raises(ConfigError, match="counts one kind of object, and the data has 3 classes"):
        counter(basic_resnet((8, 8, 16, 16)), 3)

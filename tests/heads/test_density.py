"""The density head: its grid, its start, and that it does not die."""

import pytest
import torch

from visionkit.backbones.base import Stage
from visionkit.heads.density import DensityHead

STAGES = {"c3": Stage(6, 8), "c4": Stage(10, 16)}


def maps(height: int, width: int, count: int = 2) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(count, stage.channels, height * 8 // stage.stride, width * 8 // stage.stride)
        for name, stage in STAGES.items()
    }


def test_the_grid_is_that_of_the_finest_map():
    head = DensityHead(STAGES, hidden=4)
    assert (head.stages, head.stride, head.multiple) == (("c3", "c4"), 8, 16)
    found = head(maps(4, 6), (4, 6))
    assert found.shape == (2, 4, 6) and found.dtype == torch.float32 and bool((found > 0).all())


def test_maps_that_are_a_few_cells_short_are_stretched():
    short = {"c3": torch.randn(1, 6, 5, 5), "c4": torch.randn(1, 10, 2, 2)}
    assert DensityHead(STAGES, hidden=4)(short, (6, 6)).shape == (1, 6, 6)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_it_begins_as_a_thin_crowd(norm):
    found = DensityHead(STAGES, hidden=32, norm=norm)(maps(8, 8), (8, 8))
    assert 0.02 < found.mean().item() < 0.1


def test_every_stage_counts():
    head, given = DensityHead(STAGES, hidden=4).eval(), maps(4, 4)
    found = head(given, (4, 4))
    for name in STAGES:
        changed = head({**given, name: given[name] + torch.randn_like(given[name])}, (4, 4))
        assert not torch.allclose(changed, found, atol=1e-7), name


def test_an_empty_map_can_still_learn():
    """Where a ReLU would be stuck at 0, the gradient is small and is there."""
    head = DensityHead(STAGES, hidden=4)
    with torch.no_grad():
        head.density.bias.fill_(-12.0)
    found = head(maps(4, 4), (4, 4))
    assert found.max().item() < 1e-4
    (found - 1).square().sum().backward()
    assert head.density.bias.grad.item() < 0
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in head.parameters())


def test_half_precision_gives_a_float32_density():
    head = DensityHead(STAGES, hidden=4).to(torch.bfloat16)
    given = {name: value.bfloat16() for name, value in maps(4, 4).items()}
    assert head(given, (4, 4)).dtype == torch.float32

"""Density maps: the integrals of Gaussians over cells, and the counts that they keep."""

import math

import pytest
import torch

from visionkit.ops import density
from visionkit.ops.density import cells_inside, density_map


def random_points(count: int, height: float, width: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return shares * torch.tensor([width, height, 6.0], dtype=torch.float64) + torch.tensor([0.0, 0.0, 0.3])


def brute_force(points: torch.Tensor, size: tuple[int, int], grid: tuple[int, int], cell: tuple[float, float]):
    """Each Gaussian summed over a raster of a sixteenth of a pixel, and renormalised; (h, w)."""
    fine = 16
    y, x = ((torch.arange(side * fine, dtype=torch.float64) + 0.5) / fine for side in size)
    found = torch.zeros(grid, dtype=torch.float64)
    for px, py, sigma in points.tolist():
        values = torch.exp(-((y[:, None] - py) ** 2 + (x[None, :] - px) ** 2) / (2 * sigma**2))  # (fine H, fine W)
        values /= values.sum()
        for i in range(grid[0]):
            for j in range(grid[1]):
                rows = (y >= i * cell[0]) & (y < (i + 1) * cell[0])
                columns = (x >= j * cell[1]) & (x < (j + 1) * cell[1])
                found[i, j] += values[rows][:, columns].sum()
    return found


@pytest.mark.parametrize(("size", "grid", "cell"), [((24, 32), (3, 4), (8, 8)), ((21, 30), (6, 5), (4.0, 8.0))])
def test_equals_a_raster_of_gaussians(size, grid, cell):
    points = random_points(7, *size)
    points[0, :2] = 0  # in the corner: a quarter of the Gaussian is inside
    points[1, 0] = size[1]  # on the right border
    sizes, valid = torch.tensor([size]), torch.ones(1, 7, dtype=torch.bool)
    found = density_map(points[None], valid, sizes, grid, cell)
    torch.testing.assert_close(found[0], brute_force(points, size, grid, cell), rtol=0, atol=2e-3)
    assert found.sum().item() == pytest.approx(7, abs=1e-9)


def test_a_gaussian_in_the_open_is_the_textbook_integral():
    points = torch.tensor([[[40.0, 44.0, 3.0]]])
    found = density_map(points, torch.ones(1, 1, dtype=torch.bool), torch.tensor([[80, 80]]), (10, 10), (8, 8))
    phi = lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2)))  # noqa: E731
    across, down = phi(8 / 3) - phi(0), phi(4 / 3) - phi(-4 / 3)
    assert found[0, 5, 5].item() == pytest.approx(across * down, abs=1e-6)


def test_mass_stays_inside_of_the_picture():
    """Points at the border of the picture and a canvas that is larger: nothing goes into the padding."""
    points = torch.tensor([[[29.9, 20.9, 5.0], [0.1, 3.0, 9.0]]])
    sizes, grid = torch.tensor([[21, 30]]), (6, 8)
    found = density_map(points, torch.ones(1, 2, dtype=torch.bool), sizes, grid, (8, 8))
    inside = cells_inside(sizes, grid, (8, 8))
    assert inside[0].sum(dim=0).tolist() == [3, 3, 3, 3, 0, 0, 0, 0]
    assert float(found[~inside].abs().sum()) == 0
    assert found.sum().item() == pytest.approx(2, abs=1e-5)


def test_batches_and_padding_points(monkeypatch):
    """Each picture by itself, and in chunks of points as in one."""
    points = torch.stack([random_points(50, 40, 60, 1), random_points(50, 30, 50, 2)]).float()
    valid = torch.zeros(2, 50, dtype=torch.bool)
    valid[0, :50], valid[1, :13] = True, True
    sizes = torch.tensor([[40, 60], [30, 50]])
    whole = density_map(points, valid, sizes, (5, 8), (8, 8))
    torch.testing.assert_close(whole.sum(dim=(1, 2)), torch.tensor([50.0, 13.0]))
    alone = density_map(points[1:, :13], valid[1:, :13], sizes[1:], (5, 8), (8, 8))
    torch.testing.assert_close(whole[1], alone[0])
    monkeypatch.setattr(density, "CHUNK", 7)
    torch.testing.assert_close(density_map(points, valid, sizes, (5, 8), (8, 8)), whole)


@pytest.mark.parametrize("count", [0, 1])
def test_without_points(count):
    """None at all, and the one of padding that a batch always has."""
    points, valid = torch.ones(2, count, 3), torch.zeros(2, count, dtype=torch.bool)
    found = density_map(points, valid, torch.tensor([[16, 16], [8, 16]]), (2, 2), (8, 8))
    assert found.shape == (2, 2, 2) and float(found.abs().max()) == 0


@pytest.mark.parametrize("sigma", [1e-3, 1e4])
def test_kernels_without_width_and_without_end(sigma):
    points = torch.tensor([[[11.0, 3.0, sigma]]])
    found = density_map(points, torch.ones(1, 1, dtype=torch.bool), torch.tensor([[16, 16]]), (2, 2), (8, 8))
    wanted = torch.tensor([[0.0, 1.0], [0.0, 0.0]]) if sigma < 1 else torch.full((2, 2), 0.25)
    torch.testing.assert_close(found[0], wanted, rtol=0, atol=1e-3)


def test_targets_are_not_rounded_under_autocast():
    points = torch.rand(1, 150, 3) * torch.tensor([96.0, 64.0, 4.0]) + torch.tensor([0.0, 0.0, 1.0])
    arguments = (points, torch.ones(1, 150, dtype=torch.bool), torch.tensor([[64, 96]]), (8, 12), (8.0, 8.0))
    with torch.autocast("cpu", torch.bfloat16):
        found = density_map(*arguments)
    assert torch.equal(found, density_map(*arguments)) and found.sum().item() == pytest.approx(150, abs=1e-3)

"""How alike two maps are, beside scipy's ranks and an SSIM written out pixel by pixel."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from visionkit.explain.similarity import rank_correlation, structural_similarity


@pytest.mark.parametrize("values", [3, 20, 1_000_000])
def test_ranks_as_scipy_has_them_with_ties(values):
    rng = np.random.default_rng(values)
    a, b = rng.integers(0, values, (2, 12, 17)).astype(np.float32)
    found = rank_correlation(torch.from_numpy(a), torch.from_numpy(a + b))
    assert found == pytest.approx(spearmanr(a.ravel(), (a + b).ravel()).statistic, abs=1e-9)


def test_ranks_of_equal_opposite_and_blank_maps():
    a = torch.rand(50, 60)
    assert rank_correlation(a, a.clone()) == 1.0
    assert rank_correlation(a, a.exp() * 7) == 1.0, "only the order counts"
    assert rank_correlation(a, -a) == -1.0
    assert rank_correlation(a, torch.zeros(50, 60)) is None and rank_correlation(torch.ones(2, 2), a[:2, :2]) is None


def test_structural_similarity_beside_another_computation():
    rng = np.random.default_rng(0)
    a = rng.random((30, 25))
    b = 0.6 * a + 0.4 * rng.random((30, 25))
    x, y = ((m - m.min()) / (m.max() - m.min()) for m in (a, b))

    def blur(image):
        return gaussian_filter(image, 1.5, truncate=10 / 3, mode="nearest")  # the same reach of 5

    mx, my = blur(x), blur(y)
    vx, vy, both = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    expected = (2 * mx * my + 1e-4) * (2 * both + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    found = structural_similarity(torch.from_numpy(a), torch.from_numpy(b))
    assert found == pytest.approx(expected.mean(), abs=1e-6) and 0.1 < found < 0.95


def test_structural_similarity_knows_no_scale():
    a = torch.rand(20, 20)
    assert structural_similarity(a, a) == pytest.approx(1.0)
    assert structural_similarity(a, 3 * a + 5) == pytest.approx(1.0, abs=1e-4)
    assert structural_similarity(a, 1 - a) < 0
    assert structural_similarity(torch.zeros(20, 20), torch.ones(20, 20)) == pytest.approx(1.0), "both are blank"
    assert abs(structural_similarity(a, torch.zeros(20, 20))) < 0.1

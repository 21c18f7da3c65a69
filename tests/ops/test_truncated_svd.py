"""Truncated SVD: exact at full rank, and the best that a rank can do."""

import torch

from visionkit.ops.truncated_svd import truncated_svd


def test_full_rank_is_exact_and_less_loses_the_smallest_values():
    torch.manual_seed(0)
    weight = torch.randn(12, 20)
    first, second = truncated_svd(weight, 12)
    assert first.shape == (12, 20) and second.shape == (12, 12) and first.dtype == torch.float32
    assert torch.allclose(second @ first, weight, atol=1e-5)
    values = torch.linalg.svdvals(weight)
    for rank in (1, 5, 11):
        first, second = truncated_svd(weight, rank)
        assert first.shape == (rank, 20) and second.shape == (12, rank)
        error = ((second @ first - weight) ** 2).sum()
        assert torch.allclose(error, (values[rank:] ** 2).sum(), rtol=1e-4)  # Eckart and Young


def test_a_rank_beyond_the_sides_is_cut():
    first, second = truncated_svd(torch.randn(3, 5), 99)
    assert first.shape == (3, 5) and second.shape == (3, 3)

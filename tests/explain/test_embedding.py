"""Vectors in a plane: beside an eigendecomposition, and clusters that stay together."""

import sys

import pytest
import torch

from visionkit.errors import ConfigError
from visionkit.explain.embedding import neighbour_agreement, principal_components, t_sne


def clusters(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three clouds that lie in different directions: (3 * count, 20), labels (3 * count,)."""
    middles = 8 * torch.eye(20)[:3]
    labels = torch.arange(3).repeat_interleave(count)
    return middles[labels] + torch.randn(3 * count, 20), labels


def test_components_beside_an_eigendecomposition():
    vectors = torch.randn(40, 6) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1]) + 7
    centred = (vectors - vectors.mean(dim=0)).double()
    values, directions = torch.linalg.eigh(centred.T @ centred)
    expected = centred @ directions[:, [-1, -2]]
    found = principal_components(vectors).double()
    signs = (found * expected).sum(dim=0).sign()
    torch.testing.assert_close(found, expected * signs, atol=1e-4, rtol=1e-4)


def test_a_mirrored_solution_is_turned_back():
    """The direction's largest weight is positive: points with more of it lie at the right."""
    vectors = torch.randn(30, 4) * torch.tensor([9.0, 1, 1, 1])
    assert torch.corrcoef(torch.stack([principal_components(vectors)[:, 0], vectors[:, 0]]))[0, 1] > 0.9
    flipped = principal_components(-vectors)[:, 0]
    assert torch.corrcoef(torch.stack([flipped, -vectors[:, 0]]))[0, 1] > 0.9


def test_t_sne_keeps_clusters_and_repeats():
    vectors, labels = clusters(15)
    places = t_sne(vectors, perplexity=5)
    assert places.shape == (45, 2) and places.dtype == torch.float32
    assert neighbour_agreement(places, labels) == 1.0
    assert torch.equal(places, t_sne(vectors, perplexity=5))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 20])
def test_fewer_pictures_than_neighbours(count):
    places = t_sne(torch.randn(count, 8), perplexity=30)
    assert places.shape == (count, 2) and places.isfinite().all()


@pytest.mark.parametrize("vectors", [torch.ones(9, 4), torch.randn(9, 1)])
def test_vectors_that_differ_in_fewer_than_two_directions(vectors):
    for places in (principal_components(vectors), t_sne(vectors)):
        assert places.shape == (9, 2) and places.isfinite().all()


def test_agreement_by_hand():
    points = torch.tensor([[0.0, 0], [1, 0], [2, 0], [10, 0], [11, 0]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    # neighbours by 2: 1,2 | 0,2 | 1,0 | 4,2 | 3,2
    assert neighbour_agreement(points, labels, 2) == pytest.approx((1 + 1 + 0 + 2 + 2) / 10)
    assert neighbour_agreement(points[:1], labels[:1]) is None
    assert neighbour_agreement(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)) == 1.0


def test_refused(monkeypatch):
    with pytest.raises(ConfigError, match="perplexity=0"):
        t_sne(torch.randn(9, 3), perplexity=0)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"scikit-learn: pip install 'visionkit\[svm\]'"):
        principal_components(torch.randn(9, 3))
    with pytest.raises(ConfigError, match="scikit-learn"):
        t_sne(torch.randn(9, 3))

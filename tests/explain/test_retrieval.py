"""Nearest vectors against a loop in float64, ties and empty sides included."""

import numpy as np
import pytest
import torch

from visionkit.explain import retrieval
from visionkit.explain.retrieval import nearest, normalise


def by_hand(query: np.ndarray, gallery: np.ndarray, k: int, distance: str) -> tuple[list[list[int]], np.ndarray]:
    """One pair after the other; sorted by (distance, position)."""
    positions, distances = [], []
    for q in query.astype(np.float64):
        rows = []
        for i, g in enumerate(gallery.astype(np.float64)):
            lengths = np.sqrt((q * q).sum() * (g * g).sum())
            cosine = (q * g).sum() / lengths if lengths else 0.0
            rows.append((np.sqrt(((q - g) ** 2).sum()) if distance == "l2" else 1 - cosine, i))
        rows.sort()
        positions.append([i for _, i in rows[:k]])
        distances.append([d for d, _ in rows[:k]])
    return positions, np.array(distances).reshape(len(query), -1)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize(("count", "k", "chunk"), [(1, 1, 4), (37, 5, 4), (37, 5, 7), (37, 50, 16), (64, 64, 64)])
def test_against_a_loop(monkeypatch, distance, count, k, chunk):
    monkeypatch.setattr(retrieval, "CHUNK", chunk)
    query, gallery = torch.randn(9, 6), torch.randn(count, 6)
    positions, distances = nearest(query, gallery, k, distance)
    expected, values = by_hand(query.numpy(), gallery.numpy(), k, distance)
    assert positions.tolist() == expected
    assert positions.shape == distances.shape == (9, min(k, count))
    np.testing.assert_allclose(distances.numpy(), values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_equal_vectors_are_at_zero_and_in_the_order_of_the_gallery(monkeypatch, distance):
    """Also when they come in different chunks, and with lengths at which a matrix product would be wrong by 0.1."""
    monkeypatch.setattr(retrieval, "CHUNK", 3)
    one, other = 100 * torch.rand(512) + 50, -100 * torch.rand(512)
    gallery = torch.stack([other, one, other, one, other, one, one])
    positions, distances = nearest(one[None], gallery, 6, distance)
    assert positions.tolist() == [[1, 3, 5, 6, 0, 2]]
    assert distances[0, :4].tolist() == [0, 0, 0, 0] and float(distances[0, 4]) > 0.1


def test_the_two_distances_differ_where_lengths_do():
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[10.0, 0.0], [0.6, 0.8]])
    assert nearest(query, gallery, 1, "l2")[0].tolist() == [[1]]
    assert nearest(query, gallery, 1, "cosine")[0].tolist() == [[0]]


def test_vectors_of_zeros():
    zero, one = torch.zeros(1, 3), torch.eye(3)[:1]
    assert torch.equal(normalise(zero), zero) and torch.equal(normalise(5 * one), one)
    found = [float(nearest(a, b, 1, "cosine")[1]) for a, b in ((zero, one), (one, zero), (zero, zero), (one, one))]
    assert found == [1, 1, 1, 0]


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_no_query_and_no_gallery(distance):
    for query, gallery in ((torch.zeros(0, 3), torch.ones(4, 3)), (torch.ones(4, 3), torch.zeros(0, 3))):
        positions, distances = nearest(query, gallery, 2, distance)
        wanted = (len(query), min(2, len(gallery)))
        assert positions.shape == distances.shape == wanted and positions.dtype == torch.int64


@pytest.mark.parametrize(
    ("query", "gallery", "k", "distance"),
    [((2, 3), (4, 3), 1, "l1"), ((2, 3), (4, 3), 0, "l2"), ((2, 3), (4, 5), 1, "l2"), ((3,), (4, 3), 1, "l2")],
)
def test_refused(query, gallery, k, distance):
    with pytest.raises(ValueError):
        nearest(torch.zeros(query), torch.zeros(gallery), k, distance)

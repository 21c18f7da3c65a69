import numpy as np
import pytest

from visionkit.ops import graph_segmentation
from visionkit.ops.graph_segmentation import Edges, segment, sorted_edges


def blurred_noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (height // 3 + 1, width // 3 + 1, channels))
    return coarse.repeat(3, 0).repeat(3, 1)[:height, :width].astype(np.float32)


def by_definition(edges: Edges, k: float, min_size: int) -> list[frozenset[int]]:
    """The algorithm of the paper with sets of pixels for regions."""
    region = {p: frozenset([p]) for p in range(edges.shape[0] * edges.shape[1])}
    inside: dict[frozenset[int], float] = {one: 0.0 for one in region.values()}
    pairs = list(zip(edges.first.tolist(), edges.second.tolist(), edges.weight.tolist(), strict=True))
    for small_only in (False, True):
        for a, b, weight in pairs:
            one, other = region[a], region[b]
            if one == other:
                continue
            if small_only:
                joins = min(len(one), len(other)) < min_size
            else:
                joins = weight <= min(inside[one] + k / len(one), inside[other] + k / len(other))
            if joins:
                both = one | other
                inside[both] = weight
                region.update(dict.fromkeys(both, both))
    return sorted(set(region.values()), key=min)


def as_sets(labels: np.ndarray) -> list[frozenset[int]]:
    flat = labels.ravel()
    return [frozenset(np.flatnonzero(flat == r).tolist()) for r in range(flat.max() + 1)]


@pytest.mark.parametrize(("k", "min_size"), [(1, 1), (50, 1), (300, 1), (50, 8), (3000, 20)])
def test_regions_are_those_of_the_definition(k, min_size):
    for seed in range(3):
        edges = sorted_edges(blurred_noise(11, 14, seed=seed))
        assert as_sets(segment(edges, k, min_size)) == by_definition(edges, k, min_size)


def test_compiled_and_written_code_give_the_same_bits(monkeypatch):
    compiled = graph_segmentation._joined
    for seed in range(4):
        edges = sorted_edges(blurred_noise(30, 25, seed=seed))
        found = segment(edges, 40, 6)
        monkeypatch.setattr(graph_segmentation, "_joined", compiled.__wrapped__)
        assert np.array_equal(segment(edges, 40, 6), found) and found.max() > 3
        monkeypatch.setattr(graph_segmentation, "_joined", compiled)


def test_every_pair_of_neighbours_is_an_edge_with_their_distance():
    channels = blurred_noise(4, 5, channels=2, seed=1)
    edges = sorted_edges(channels, sigma=0)
    found = {(a, b): w for a, b, w in zip(edges.first, edges.second, edges.weight, strict=True)}
    for p in range(20):
        for q in range(p + 1, 20):
            near = abs(p // 5 - q // 5) <= 1 and abs(p % 5 - q % 5) <= 1
            assert ((p, q) in found or (q, p) in found) == near
            if near:
                distance = np.linalg.norm(channels[p // 5, p % 5] - channels[q // 5, q % 5])
                assert found.get((p, q), found.get((q, p))) == pytest.approx(distance, rel=1e-6)
    assert (np.diff(edges.weight) >= 0).all()


def test_equal_weights_keep_their_order():
    edges = sorted_edges(np.zeros((3, 3, 1), np.float32))
    assert edges.first[:6].tolist() == [0, 1, 3, 4, 6, 7]  # to the right, row by row


def test_two_halves_are_two_regions():
    image = np.zeros((20, 30, 3), np.float32)
    image[:, 12:] = 200
    labels = segment(sorted_edges(image, sigma=0), 100, 10)
    assert labels.max() == 1 and (labels[:, :12] == 0).all() and (labels[:, 12:] == 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_a_line_and_a_pixel(shape):
    labels = segment(sorted_edges(np.full((*shape, 3), 9, np.float32)), 50, 50)
    assert labels.shape == shape and (labels == 0).all() and labels.dtype == np.int32

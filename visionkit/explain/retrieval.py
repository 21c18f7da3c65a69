"""The nearest vectors of a gallery: pictures that a network finds alike (Krizhevsky et al. 2012, sec. 6.1, fig. 4)."""

import torch
from torch import Tensor

DISTANCES = ("l2", "cosine")
CHUNK = 4096  # gallery rows that are compared at a time


def normalise(vectors: Tensor) -> Tensor:
    """(N, D) float -> (N, D), each of length 1; a vector of zeros stays one."""
    lengths = vectors.norm(dim=1, keepdim=True)  # (N, 1)
    return vectors / torch.where(lengths > 0, lengths, 1)


def nearest(query: Tensor, gallery: Tensor, k: int, distance: str = "l2") -> tuple[Tensor, Tensor]:
    """The k nearest rows of the gallery to each query; among equals the one that stands first in the gallery.

    Each pair is computed by itself, from differences, so that equal pictures have a distance of exactly 0 and tie;
    through a matrix product they would come out some rounding errors apart.

    Args:
        query: (Q, D) float32, finite.
        gallery: (N, D) float32, finite.
        k: how many; all N where the gallery has fewer.
        distance: "l2", or "cosine": one less the cosine of the angle, 0 ... 2; to a vector of zeros it is 1.
    Returns:
        positions in the gallery (Q, min(k, N)) int64 and distances (Q, min(k, N)) float32, the nearest first.
    Raises:
        ValueError: another distance, k below 1, vectors of different lengths.
    """
    if distance not in DISTANCES or k < 1:
        raise ValueError(f"distance is {' or '.join(DISTANCES)} and k at least 1, not {distance} and {k}")
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query {tuple(query.shape)} and gallery {tuple(gallery.shape)} are not (Q, D) and (N, D)")
    positions = torch.zeros(len(query), 0, dtype=torch.int64)
    best = torch.zeros(len(query), 0)
    for first in range(0, len(gallery), CHUNK):
        part = gallery[first : first + CHUNK]
        found = _distances(query, part, distance)  # (Q, n)
        place = torch.arange(first, first + len(part)).expand(len(query), -1)  # (Q, n)
        merged, order = torch.cat([best, found], dim=1).sort(dim=1, stable=True)  # the best so far stand before
        best = merged[:, :k]
        positions = torch.cat([positions, place], dim=1).gather(1, order[:, :k])
    return positions, best  # (Q, min(k, N))


def _distances(query: Tensor, gallery: Tensor, distance: str) -> Tensor:
    if distance == "l2":
        return _l2(query, gallery)
    a, b = normalise(query), normalise(gallery)
    zero_a, zero_b = (1 - vectors.any(dim=1).float() for vectors in (a, b))
    return _l2(a, b).square() / 2 + (zero_a[:, None] + zero_b) / 2  # |a - b|^2 = 2 - 2 cos for unit vectors


def _l2(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # (Q, N)

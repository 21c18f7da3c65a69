"""Graph segmentation: pixels of like colour joined to regions (Felzenszwalb and Huttenlocher, IJCV 2004)."""

from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from visionkit.ops.compiled import compiled


class Edges(NamedTuple):
    """The pairs of neighbouring pixels of an image of 8-connected pixels, least different first."""

    shape: tuple[int, int]  # (H, W)
    first: np.ndarray  # (E,) int32, pixel y * W + x
    second: np.ndarray  # (E,) int32
    weight: np.ndarray  # (E,) float32, Euclidean distance of their colours


def sorted_edges(channels: np.ndarray, sigma: float = 0.8) -> Edges:
    """The edges of an image (H, W, C) float32 after a Gaussian blur of `sigma` pixels (0 = none). H, W may be 1.

    Equal weights are ordered by direction and position, so the order is the same everywhere.
    """
    height, width, _ = channels.shape
    if sigma > 0:
        channels = np.stack(
            [gaussian_filter(channels[..., c], sigma, mode="nearest") for c in range(channels.shape[2])], axis=2
        )
    pixel = np.arange(height * width, dtype=np.int32).reshape(height, width)
    pairs = (  # right, down, right down, left down
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    )
    first = np.concatenate([pixel[a].ravel() for a, _ in pairs])
    second = np.concatenate([pixel[b].ravel() for _, b in pairs])
    planes = [np.ascontiguousarray(channels[..., c]) for c in range(channels.shape[2])]
    weight = np.concatenate([_distance(planes, a, b).ravel() for a, b in pairs])
    # Floats of one sign sort as their bits do. With the edge's number below them all keys differ, and the fastest sort
    # is a stable one.
    keys = (weight.view(np.uint32).astype(np.uint64) << np.uint64(32)) | np.arange(len(weight), dtype=np.uint64)
    order = (np.sort(keys) & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return Edges((height, width), first[order], second[order], weight[order])


def segment(edges: Edges, k: float, min_size: int) -> np.ndarray:
    """Regions 0 ... R-1 as (H, W) int32, numbered in the order of their first pixels.

    Args:
        edges: of the image.
        k: preference for large regions: two regions join when the least difference between them is at most the
            largest one inside of each plus k / pixels.
        min_size: regions of fewer pixels are joined to a neighbour afterwards, the least different first.
    """
    height, width = edges.shape
    labels = _joined(edges.first, edges.second, edges.weight, height * width, float(k), int(min_size))
    return labels.reshape(height, width)


def _distance(planes: list[np.ndarray], a: Any, b: Any) -> np.ndarray:
    total = np.square(planes[0][a] - planes[0][b])
    for plane in planes[1:]:
        total += np.square(plane[a] - plane[b])
    result: np.ndarray = np.sqrt(total)
    return result


@compiled
def _joined(
    first: np.ndarray, second: np.ndarray, weight: np.ndarray, count: int, k: float, min_size: int
) -> np.ndarray:
    """Kruskal's algorithm with a limit for each tree; (count,) int32 labels."""
    parent = np.arange(count).astype(np.int32)
    size = np.ones(count, np.int32)
    limit = np.full(count, k)  # float64: the largest difference inside, plus k / size
    for small_only in (False, True):
        for e in range(len(first)):
            a, b = first[e], second[e]
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a == b:
                continue
            if small_only:
                joins = size[a] < min_size or size[b] < min_size
            else:
                joins = weight[e] <= limit[a] and weight[e] <= limit[b]
            if joins:
                if size[a] < size[b]:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                limit[a] = weight[e] + k / size[a]
    number = np.full(count, -1, np.int32)  # of a tree, at its root
    labels = np.empty(count, np.int32)
    found = 0
    for i in range(count):
        a = i
        while parent[a] != a:
            a = parent[a]
        parent[i] = a
        if number[a] < 0:
            number[a] = found
            found += 1
        labels[i] = number[a]
    return labels

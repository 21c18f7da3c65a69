"""Hierarchical grouping: the two most similar neighbours become one region, until one is left.

Uijlings et al., "Selective search for object recognition", IJCV 2013, sec. 3.1 and 3.2.2.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# (numba does not take annotations of inner functions)

import heapq
from typing import NamedTuple

import numpy as np

from visionkit.ops.compiled import compiled
from visionkit.ops.region_features import ORIENTATIONS, RegionFeatures


class Mix(NamedTuple):
    """Which similarities are added up: the letters of the paper's table, C T S F."""

    color: bool
    texture: bool
    size: bool
    fill: bool

    @staticmethod
    def of(letters: str) -> "Mix":
        """ "CTSF", "TSF" ... ValueError for other letters and for none."""
        if not letters or set(letters) - set("CTSF") or len(set(letters)) != len(letters):
            raise ValueError(f"a mix of similarities is some of the letters C, T, S and F, not {letters!r}")
        return Mix("C" in letters, "T" in letters, "S" in letters, "F" in letters)


def group(regions: RegionFeatures, mix: Mix, area: int) -> np.ndarray:
    """The boxes of all regions of the hierarchy, (2 R - 1, 4) int64.

    First the R regions given, then each joined one in the order of its making; the last is the whole image. Between
    equally similar pairs the one with the lower numbers is joined.

    Args:
        regions: of one segmentation, which together cover the image.
        mix: the similarities that count.
        area: pixels of the image.
    """
    channels = regions.textures.shape[1] // (ORIENTATIONS * 10)
    return _grouped(
        regions.sizes, regions.boxes, regions.colors, regions.textures, regions.pairs, *mix, channels, int(area)
    )


@compiled
def _grouped(
    sizes: np.ndarray,
    boxes: np.ndarray,
    colors: np.ndarray,
    textures: np.ndarray,
    pairs: np.ndarray,
    with_color: bool,
    with_texture: bool,
    with_size: bool,
    with_fill: bool,
    channels: int,
    area: int,
) -> np.ndarray:
    count = len(sizes)
    total = 2 * count - 1

    def grown(rows, room):
        result = np.zeros((room, rows.shape[1]), np.int64)
        result[: len(rows)] = rows
        return result

    size = np.zeros(total, np.int64)
    size[:count] = sizes
    box, color, texture = grown(boxes, total), grown(colors, total), grown(textures, total)

    def similarity(a, b):
        """Whole numbers up to the last division: the same bits in any order of summation."""
        sa, sb = size[a], size[b]
        found = 0.0
        if with_color:  # histogram intersection of shares: min(n_a / s_a, n_b / s_b)
            found += np.minimum(color[a] * sb, color[b] * sa).sum() / (sa * sb * channels)
        if with_texture:
            found += np.minimum(texture[a] * sb, texture[b] * sa).sum() / (sa * sb * channels * 8)
        if with_size:
            found += 1.0 - (sa + sb) / area
        if with_fill:
            width = max(box[a, 2], box[b, 2]) - min(box[a, 0], box[b, 0])
            height = max(box[a, 3], box[b, 3]) - min(box[a, 1], box[b, 1])
            found += 1.0 - (width * height - sa - sb) / area
        return found

    # Neighbours of a region: a row of numbers in one long array. A number may be of a region that has been joined
    # since; `into` leads from it to the region that it is part of now.
    degree = np.zeros(total, np.int64)
    for e in range(len(pairs)):
        degree[pairs[e, 0]] += 1
        degree[pairs[e, 1]] += 1
    begin = np.zeros(total, np.int64)
    for a in range(1, count):
        begin[a] = begin[a - 1] + degree[a - 1]
    end = begin.copy()
    store = np.zeros(max(16, 4 * len(pairs)), np.int64)
    heap = [(0.0, 0, 0)]
    heap.pop()  # its type is known to the compiler now
    for e in range(len(pairs)):
        a, b = pairs[e, 0], pairs[e, 1]
        store[end[a]] = b
        store[end[b]] = a
        end[a] += 1
        end[b] += 1
        heap.append((-similarity(a, b), a, b))
    heapq.heapify(heap)
    used = 2 * len(pairs)
    into = np.arange(total)
    seen = np.full(total, -1)  # the last joined region that a neighbour was listed for
    new = count
    while new < total:
        _, a, b = heapq.heappop(heap)
        if into[a] != a or into[b] != b:
            continue  # one of them is part of a larger region already
        size[new] = size[a] + size[b]
        color[new] = color[a] + color[b]
        texture[new] = texture[a] + texture[b]
        for side in range(2):
            box[new, side] = min(box[a, side], box[b, side])
            box[new, side + 2] = max(box[a, side + 2], box[b, side + 2])
        into[a] = into[b] = new
        room = used + (end[a] - begin[a]) + (end[b] - begin[b])
        if room > len(store):
            more = np.zeros(2 * room, np.int64)
            more[:used] = store[:used]
            store = more
        begin[new] = used
        for child in (a, b):
            for place in range(begin[child], end[child]):
                other = store[place]
                while into[other] != other:
                    into[other] = into[into[other]]
                    other = into[other]
                if other != new and seen[other] != new:
                    seen[other] = new
                    store[used] = other
                    used += 1
                    heapq.heappush(heap, (-similarity(other, new), other, new))
        end[new] = used
        new += 1
    hierarchy: np.ndarray = box
    return hierarchy

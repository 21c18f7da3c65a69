import pickle

import numpy as np

from tests.data.conftest import write_mask
from visionkit.data.panoptic_maps import PanopticMaps
from visionkit.data.ragged import Blobs, to_offsets


def test_equals_a_search_pixel_by_pixel(tmp_path):
    """Against the format's own words: an id is R + 256 G + 256^2 B, and 0 is void."""
    rng = np.random.default_rng(0)
    paths, numbers, labels, expected = [], [], [], []
    for k in range(4):
        own = np.sort(rng.choice(256**3 - 1, k * 20, replace=False) + 1)  # the first picture has no segment
        classes = rng.integers(0, 200, len(own))
        rows = rng.integers(-1, len(own), (13, 17)) if k else np.full((13, 17), -1)
        ids = np.where(rows < 0, 0, np.append(own, 0)[rows])
        colors = [[(v % 256, v // 256 % 256, v // 65536) for v in row] for row in ids.tolist()]
        paths.append(str(write_mask(tmp_path / f"{k}.png", np.array(colors))).encode())
        numbers.append(own)
        labels.append(classes)
        expected.append(np.where(rows < 0, 255, np.append(classes, 0)[rows]))
    offsets = to_offsets(np.array([len(own) for own in numbers]))
    flat = np.concatenate(numbers).astype(np.int32), np.concatenate(labels).astype(np.uint8)
    maps = PanopticMaps(Blobs.pack(paths), *flat, offsets)
    assert len(maps) == 4
    for k in range(4):
        assert np.array_equal(maps.read(k), expected[k]) and maps.read(k).dtype == np.int64
    table = rng.permutation(200)
    moved = pickle.loads(pickle.dumps(maps.select(np.array([3, 0, 2])).relabelled(table)))
    assert len(moved) == 3 and moved.name(0).endswith("3.png")
    for place, k in enumerate((3, 0, 2)):
        assert np.array_equal(
            moved.read(place), np.where(expected[k] == 255, 255, np.append(table, [0] * 56)[expected[k]])
        )

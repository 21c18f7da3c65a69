import numpy as np
import pytest

from visionkit.ops import region_grouping
from visionkit.ops.region_features import RegionFeatures, color_bins, region_features, texture_bins
from visionkit.ops.region_grouping import Mix, group

MIXES = ("CTSF", "TSF", "F", "S", "C", "T")


def regions(seed: int, shape: tuple[int, int] = (24, 30), cells: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels of irregular regions and an image (H, W, 3) float32 that they do not quite agree with."""
    random = np.random.default_rng(seed)
    centers = random.uniform(0, 1, (cells * 2, 2)) * shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(y[..., None] - centers[:, 0], x[..., None] - centers[:, 1])
    labels = np.unique(distance.argmin(axis=2), return_inverse=True)[1].reshape(shape).astype(np.int32)
    image = random.uniform(0, 255, (labels.max() + 1, 3))[labels] + random.normal(0, 20, (*shape, 3))
    return labels, np.clip(image, 0, 255).astype(np.float32)


def features(seed: int, **settings) -> RegionFeatures:
    labels, image = regions(seed, **settings)
    return region_features(labels, color_bins(image), texture_bins(image))


def by_definition(labels: np.ndarray, image: np.ndarray, mix: str) -> list[list[int]]:
    """Masks for regions; every similarity from the pixels, every time; the largest of all."""
    area = labels.size
    maps = {"C": (color_bins(image), 25), "T": (texture_bins(image), 10)}
    masks = {r: labels == r for r in range(labels.max() + 1)}
    order = list(masks)

    def box(mask):
        y, x = np.nonzero(mask)
        return [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]

    def histogram(mask, kind):
        planes, bins = maps[kind]
        counts = np.concatenate([np.bincount(plane[mask.ravel()], minlength=bins) for plane in planes])
        return counts / counts.sum()

    def similar(a, b):
        total = 0.0
        for kind in "CT":
            if kind in mix:
                total += np.minimum(histogram(masks[a], kind), histogram(masks[b], kind)).sum()
        both = masks[a].sum() + masks[b].sum()
        if "S" in mix:
            total += 1 - both / area
        if "F" in mix:
            x1, y1, x2, y2 = box(masks[a] | masks[b])
            total += 1 - ((x2 - x1) * (y2 - y1) - both) / area
        return round(total, 9)

    def touch(a, b):
        padded = np.pad(masks[a], 1)
        height, width = labels.shape
        grown = np.any([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
        return bool((grown & masks[b]).any())

    boxes = [box(masks[r]) for r in order]
    while len(masks) > 1:
        pairs = [(a, b) for a in masks for b in masks if a < b and touch(a, b)]
        a, b = max(pairs, key=lambda pair: (similar(*pair), -pair[0], -pair[1]))
        new = len(boxes)
        masks[new] = masks.pop(a) | masks.pop(b)
        boxes.append(box(masks[new]))
    return boxes


@pytest.mark.parametrize("mix", MIXES)
def test_the_hierarchy_is_that_of_the_definition(mix):
    for seed in range(2):
        labels, image = regions(seed)
        found = group(region_features(labels, color_bins(image), texture_bins(image)), Mix.of(mix), labels.size)
        assert found.tolist() == by_definition(labels, image, mix)


@pytest.mark.parametrize("mix", MIXES)
def test_compiled_and_written_code_give_the_same_bits(mix, monkeypatch):
    given = features(3, shape=(40, 60), cells=20)
    found = group(given, Mix.of(mix), 2400)
    monkeypatch.setattr(region_grouping, "_grouped", region_grouping._grouped.__wrapped__)
    assert np.array_equal(group(given, Mix.of(mix), 2400), found)


def test_the_last_region_is_the_image_and_the_first_are_those_given():
    given = features(4)
    found = group(given, Mix.of("CTSF"), 720)
    count = len(given.sizes)
    assert found.shape == (2 * count - 1, 4) and found[-1].tolist() == [0, 0, 30, 24]
    assert np.array_equal(found[:count], given.boxes)


def test_mixes_differ():
    given = features(5, shape=(60, 80), cells=30)
    found = [group(given, Mix.of(mix), 4800).tolist() for mix in MIXES]
    assert len({str(one) for one in found}) == len(MIXES)


def test_one_region_is_its_own_hierarchy():
    image = np.full((3, 4, 1), 50, np.float32)
    given = region_features(np.zeros((3, 4), np.int32), color_bins(image), texture_bins(image))
    assert group(given, Mix.of("CTSF"), 12).tolist() == [[0, 0, 4, 3]]


def test_many_neighbours_make_the_store_grow():
    """A row of single pixels around which everything touches: the lists of neighbours outgrow their first room."""
    labels = np.arange(16 * 16, dtype=np.int32).reshape(16, 16)
    image = np.random.default_rng(0).uniform(0, 255, (16, 16, 3)).astype(np.float32)
    given = region_features(labels, color_bins(image), texture_bins(image))
    found = group(given, Mix.of("F"), 256)
    assert len(found) == 511 and found[-1].tolist() == [0, 0, 16, 16]


@pytest.mark.parametrize("letters", ["", "X", "CC", "ctsf"])
def test_other_letters_are_refused(letters):
    with pytest.raises(ValueError, match="C, T, S and F"):
        Mix.of(letters)

import numpy as np

from visionkit.ops.region_features import color_bins, region_features, texture_bins


def test_features_are_those_of_the_definition():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, (9, 12)).astype(np.int32)
    channels = random.uniform(0, 255, (9, 12, 2)).astype(np.float32)
    colors, textures = color_bins(channels), texture_bins(channels)
    found = region_features(labels, colors, textures)
    for r in range(4):
        y, x = np.nonzero(labels == r)
        assert found.sizes[r] == len(y)
        assert found.boxes[r].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        inside = (labels == r).ravel()
        for maps, histogram, bins in ((colors, found.colors, 25), (textures, found.textures, 10)):
            wanted = [np.sum(one[inside] == b) for one in maps for b in range(bins)]
            assert histogram[r].tolist() == wanted
    assert found.colors.sum() == 2 * 108 and found.textures.sum() == 16 * 108


def test_touching_regions_side_by_side_and_at_corners():
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 3], [4, 4, 4, 3]], np.int32)
    flat = np.zeros((1, 16), np.uint8)
    pairs = region_features(labels, flat, flat).pairs.tolist()
    assert pairs == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [2, 4], [3, 4]]


def test_one_region_touches_nothing():
    flat = np.zeros((1, 6), np.uint8)
    found = region_features(np.zeros((2, 3), np.int32), flat, flat)
    assert found.pairs.shape == (0, 2) and found.boxes.tolist() == [[0, 0, 3, 2]]


def test_a_color_bin_is_a_twenty_fifth_of_the_range():
    channels = np.array([[[0.0], [10.2], [10.3], [254.9], [255.0]]], np.float32)
    assert color_bins(channels).tolist() == [[0, 0, 1, 24, 24]]


def test_a_rise_counts_in_its_direction_only():
    ramp = np.tile(np.arange(0, 200, 10, np.float32), (20, 1))[..., None]  # brighter to the right
    maps = texture_bins(ramp).reshape(8, 20, 20)[:, 5:15, 5:15]
    right, down_right, down, down_left, left, up_left, up, up_right = (int(one[5, 5]) for one in maps)
    assert right == 9 and left == down == up == down_left == up_left == 0
    assert down_right == up_right == 7  # the cosine of 45 degrees
    turned = texture_bins(np.ascontiguousarray(ramp.transpose(1, 0, 2))).reshape(8, 20, 20)
    assert turned[2, 10, 10] == 9 and turned[0, 10, 10] == turned[6, 10, 10] == 0
    assert (texture_bins(np.full((4, 4, 3), 77, np.float32)) == 0).all()

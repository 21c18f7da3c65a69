"""Outlines of classes, beside distances between all pairs of pixels."""

import math
import time

import numpy as np
import pytest
from PIL import Image

from visionkit.evaluation.boundary import boundary_f, close_ribbons, outlines


def by_distances(truth, found, num_classes, tolerance):
    """Without ribbons: truths here have unlabelled pixels in large pieces only, or a radius below 1."""
    height, width = truth.shape
    radius = tolerance * math.hypot(height, width)
    found = np.where(truth == 255, 255, found)

    def outline(labels, k):
        places = []
        for y, x in np.ndindex(height, width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            others = [labels[p] for p in around if 0 <= p[0] < height and 0 <= p[1] < width]
            if labels[y, x] == k and any(other not in (k, 255) for other in others):
                places.append((y, x))
        return places

    def share(places, of):
        return sum(any((a - c) ** 2 + (b - d) ** 2 <= radius**2 for c, d in of) for a, b in places) / len(places)

    scores = []
    for k in range(num_classes):
        a, b = outline(truth, k), outline(found, k)
        if not a or not b:
            scores.append(0.0 if a or b else math.nan)
            continue
        precision, recall = share(b, a), share(a, b)
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(scores)


def pieces(rng, shape, count):
    """Labels in rectangles."""
    labels = np.full(shape, rng.integers(count))
    for _ in range(4):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        labels[y : y + rng.integers(3, 9), x : x + rng.integers(3, 9)] = rng.integers(count)
    return labels


def test_random_cases_equal_all_pairs_of_pixels():
    rng = np.random.default_rng(0)
    seen = []
    for case in range(60):
        shape = tuple(rng.integers(8, 22, 2))
        truth, found = pieces(rng, shape, 4), pieces(rng, shape, 4)
        if case % 2:
            found = np.where(rng.random(shape) < 0.9, truth, found)
        if case % 3 == 0:
            truth[: shape[0] // 2, : shape[1] // 2] = 255  # open to the frame: no ribbon
        scores = boundary_f(truth, found, 5, tolerance=0.1)
        np.testing.assert_allclose(scores, by_distances(truth, found, 5, 0.1), rtol=1e-12)
        seen += scores.tolist()
    seen = np.array(seen)
    assert np.isnan(seen).any() and (seen == 0).any() and ((seen > 0.1) & (seen < 0.9)).sum() > 20


def halves(split, shape=(60, 80)):
    labels = np.zeros(shape, np.int64)
    labels[:, split:] = 1
    return labels


def test_a_shifted_outline_counts_up_to_the_tolerance():
    truth = halves(40)  # the diagonal is 100 pixels
    for shift, expected in ((0, 1.0), (2, 1.0), (3, 0.0), (-2, 1.0), (-3, 0.0)):
        assert boundary_f(truth, halves(40 + shift), 3, tolerance=0.021)[:2].tolist() == [expected] * 2
    assert math.isnan(boundary_f(truth, truth, 3)[2])


def test_outlines_have_no_frame():
    assert not outlines(np.ones((4, 5), np.int64)).any()
    assert outlines(halves(2, (3, 5))).tolist() == [[False, True, True, False, False]] * 3


def test_one_side_only_is_zero_and_nothing_is_nan():
    plain = np.zeros((20, 20), np.int64)
    assert boundary_f(plain, halves(9, (20, 20)), 2).tolist() == [0.0, 0.0]
    assert boundary_f(halves(9, (20, 20)), plain, 2).tolist() == [0.0, 0.0]
    void = np.full((20, 20), 255)
    for truth in (plain, plain + 1, void):
        assert np.isnan(boundary_f(truth, plain, 2)).all()
    assert np.isnan(boundary_f(void, halves(9, (20, 20)), 2)).all(), "what is found in unlabelled places is no outline"
    assert np.isnan(boundary_f(np.zeros((0, 4), np.int64), np.zeros((0, 4), np.int64), 2)).all()


def test_unlabelled_pixels_neither_match_nor_count():
    truth = halves(40)
    truth[:30] = 255
    wrong_above = halves(40)
    wrong_above[:30] = 1 - wrong_above[:30]
    wrong_above[5:9, 10:20] = 2
    assert boundary_f(truth, wrong_above, 3)[:2].tolist() == [1.0, 1.0]
    assert math.isnan(boundary_f(truth, wrong_above, 3)[2])
    only_above = np.where(np.arange(60)[:, None] < 30, halves(40), 0)
    assert boundary_f(truth, only_above, 3)[:2].tolist() == [0.0, 0.0]


def ribbon(width):
    """As VOC draws it: unlabelled pixels around the outline."""
    truth = halves(40)
    truth[:, 40 - width // 2 : 40 + width - width // 2] = 255
    return truth


def test_ribbons_around_objects_are_closed():
    assert np.array_equal(close_ribbons(ribbon(4), 2.5), halves(40))
    assert np.array_equal(close_ribbons(ribbon(12), 2.5), ribbon(12)), "too wide: not labelled"
    assert close_ribbons(ribbon(4), 0.9) is not None and (close_ribbons(ribbon(4), 0.9) == 255).sum() == 240
    assert boundary_f(ribbon(4), halves(40), 2, 0.025).tolist() == [1.0, 1.0]
    assert boundary_f(ribbon(4), halves(42), 2, 0.025).tolist() == [1.0, 1.0]
    assert boundary_f(ribbon(4), halves(44), 2, 0.025).tolist() == [0.0, 0.0]


def test_real_street_scenes_in_time(datasets_root):
    """Truth against itself is 1 everywhere; a shift is worse than none; 11 classes cost far less than a network."""
    file = next(iter(sorted((datasets_root / "camvid").rglob("*annot/*.png"))), None)
    if file is None:
        pytest.skip("no label maps")
    truth = np.array(Image.open(file)).astype(np.int64)
    truth[truth == 11] = 255
    whole = close_ribbons(truth, 0.0075 * math.hypot(*truth.shape))
    whole[whole == 255] = 0
    start = time.perf_counter()
    own = boundary_f(truth, whole, 11)
    assert time.perf_counter() - start < 5, "it takes some 0.05 s; a loop over pixels would take minutes"
    there = np.unique(truth[truth < 255])
    assert (own[there] == 1).all() and np.isnan(np.delete(own, there)).all()
    shifted = boundary_f(truth, np.roll(whole, 8, axis=1), 11)
    assert np.nanmean(shifted) < 0.8

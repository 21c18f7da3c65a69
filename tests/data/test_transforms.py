from dataclasses import replace

import numpy as np
import pytest
import torch

from visionkit.data.transforms import (
    RandomFlip,
    TrainResize,
    Unchanged,
    flip_horizontal,
    flip_vertical,
    resize,
    resize_truth,
    uniform,
)
from visionkit.structures import Sample, Truth


def sample(height: int = 30, width: int = 50, seed: int = 0, objects: int = 2) -> Sample:
    rng = np.random.default_rng(3)
    boxes = np.array([[4, 6, 20, 16], [10.5, 0, 50, 30]], np.float32)[:objects]
    masks = np.zeros((objects, height, width), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    semantic = rng.integers(0, 5, (height, width))
    semantic[:3] = 255
    truth = Truth(boxes, np.arange(objects), np.zeros(objects, bool), masks, semantic.astype(np.int64), 4)
    image = rng.integers(0, 255, (height, width, 3), np.uint8)
    return Sample(image, truth, 1, (height, width), np.array([[0, 0, 10, 10]], np.float32), seed)


def assert_same(a: Sample, b: Sample) -> None:
    assert np.array_equal(a.image, b.image) and np.array_equal(a.truth.boxes, b.truth.boxes)
    assert np.array_equal(a.truth.masks, b.truth.masks) and np.array_equal(a.truth.semantic, b.truth.semantic)
    assert np.array_equal(a.proposals, b.proposals)


def test_flip_moves_everything() -> None:
    before, after = sample(), flip_horizontal(sample())
    assert np.array_equal(after.image, before.image[:, ::-1])
    assert after.truth.boxes.tolist() == [[30, 6, 46, 16], [0, 0, 39.5, 30]]
    assert after.truth.masks[0, 6:16, 30:46].all() and after.truth.masks[0].sum() == 160
    assert np.array_equal(after.truth.semantic, before.truth.semantic[:, ::-1])
    assert after.proposals.tolist() == [[40, 0, 50, 10]]
    assert after.truth.boxes.dtype == np.float32


def test_flip_is_its_own_inverse_and_leaves_its_input_alone() -> None:
    original = sample()
    assert_same(flip_horizontal(flip_horizontal(original)), original)
    assert_same(flip_vertical(flip_vertical(original)), original)
    both = flip_vertical(flip_horizontal(original))
    assert np.array_equal(both.image, original.image[::-1, ::-1])
    height, width = original.image.shape[:2]
    x1, y1, x2, y2 = original.truth.boxes.T
    assert np.allclose(both.truth.boxes.T, (width - x2, height - y2, width - x1, height - y1))
    assert_same(original, sample())


def test_flip_and_resize_without_objects_or_extras() -> None:
    empty = sample(objects=0)
    bare = replace(empty, truth=replace(empty.truth, masks=None, semantic=None), proposals=None)
    for given in (empty, bare):
        changed = resize(flip_horizontal(given), (60, 100))
        assert changed.truth.boxes.shape == (0, 4) and changed.image.shape == (60, 100, 3)
    assert resize(empty, (60, 100)).truth.masks.shape == (0, 60, 100)


def test_random_flip_follows_the_seed_alone() -> None:
    flips = [not np.array_equal(RandomFlip(0.3)(sample(seed=s)).image, sample().image) for s in range(400)]
    assert 0.2 < np.mean(flips) < 0.4
    assert flips == [uniform(s, 1) < 0.3 for s in range(400)]
    assert_same(RandomFlip(0.0)(sample(seed=5)), sample())
    assert_same(RandomFlip(1.0)(sample(seed=5)), flip_horizontal(sample()))
    assert_same(RandomFlip(0.0, 1.0)(sample(seed=5)), flip_vertical(sample()))
    assert Unchanged()(given := sample()) is given


def test_resize_scales_by_the_true_factors() -> None:
    """The shape is rounded to whole pixels, so height and width have their own factor."""
    after = resize(sample(), (61, 99))
    assert after.image.shape == (61, 99, 3) and after.original_size == (30, 50)
    assert after.truth.boxes[0].tolist() == pytest.approx([4 * 99 / 50, 6 * 61 / 30, 20 * 99 / 50, 16 * 61 / 30])
    assert after.truth.boxes[1, 2:].tolist() == pytest.approx([99, 61])
    assert after.proposals[0].tolist() == pytest.approx([0, 0, 19.8, 10 * 61 / 30])
    assert after.truth.masks.shape == (2, 61, 99) and after.truth.masks.dtype == bool
    assert after.truth.masks[0].mean() == pytest.approx(sample().truth.masks[0].mean(), abs=0.01)
    assert after.truth.semantic.shape == (61, 99) and after.truth.semantic.dtype == np.int64
    assert set(np.unique(after.truth.semantic)) == {0, 1, 2, 3, 4, 255}  # nothing in between


def test_masks_by_pixel_centres() -> None:
    after = resize(sample(), (15, 25))  # each new pixel is one of the four it covers
    assert np.array_equal(after.truth.masks, sample().truth.masks[:, 1::2, 1::2])
    doubled = resize(sample(), (60, 100))
    assert np.array_equal(doubled.truth.masks, sample().truth.masks.repeat(2, 1).repeat(2, 2))


def test_resize_to_the_same_size_is_free() -> None:
    given = sample()
    assert resize(given, (30, 50)) is given


def test_resize_truth_equals_resize() -> None:
    truth = resize_truth(sample().truth, (30, 50), (45, 70))
    assert np.array_equal(truth.boxes, resize(sample(), (45, 70)).truth.boxes)


def test_train_resize() -> None:
    assert TrainResize(60, 1000)(sample()).image.shape == (60, 100, 3)
    assert TrainResize(60, 80)(sample()).image.shape == (48, 80, 3)


def test_train_resize_draws_a_short_side_from_the_seed() -> None:
    shapes = [TrainResize([15, 30, 60], 1000)(sample(seed=s)).image.shape[0] for s in range(60)]
    assert set(shapes) == {15, 30, 60} and max(shapes.count(s) for s in set(shapes)) < 35
    assert shapes == [TrainResize((15, 30, 60), 1000)(sample(seed=s)).image.shape[0] for s in range(60)]


def test_pixels_are_those_of_the_test() -> None:
    from visionkit.ops.resize import TestResize

    image = sample().image
    assert np.array_equal(TrainResize(47, 90)(sample()).image, TestResize(47, 90)(image))
    torch.set_num_threads(2)
    assert np.array_equal(TrainResize(47, 90)(sample()).image, TestResize(47, 90)(image))


@pytest.mark.parametrize("short", [0, [], [20, 0], 101, [20, 101]])
def test_impossible_settings(short) -> None:
    with pytest.raises(ValueError, match="TrainResize needs"):
        TrainResize(short, 100)
    with pytest.raises(ValueError, match="p must be"):
        RandomFlip(1.5)

"""The window is the same for image, label map, masks, boxes and points; nothing but the seed decides where it is."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.data.conftest import write_mask, write_picture
from visionkit.config import compose, instantiate
from visionkit.data.augment import Augment
from visionkit.data.collate import collate
from visionkit.data.label_maps import IndexMaps, index_table
from visionkit.data.ragged import Blobs
from visionkit.data.scale_crop import ScaleCrop, crop_size, cut, on_top_of
from visionkit.data.segmentation import pack_segmentation
from visionkit.data.segmentation_dataset import SegmentationDataset
from visionkit.data.transforms import Chain, RandomFlip, flip_horizontal, flip_vertical
from visionkit.ops.resize import TestResize
from visionkit.structures import Sample, Truth


def sample(height=60, width=90, seed=0, cell=6):
    """A board whose colours tell the label: red is ten times the label."""
    rows, columns = np.mgrid[:height, :width] // cell
    semantic = ((rows * 7 + columns * 3) % 19).astype(np.int64)
    image = np.stack([10 * semantic, 255 - 10 * semantic, np.full_like(semantic, 128)], axis=-1).astype(np.uint8)
    boxes = np.array([[6, 12, 30, 36], [80, 50, 90, 60]], np.float32)
    masks = np.zeros((2, height, width), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    points = np.array([[6, 12, 2], [30, 36, 3], [89.5, 59.5, 1]], np.float32)
    truth = Truth(boxes, np.array([4, 8]), np.array([False, True]), masks, semantic, 3, points=points)
    return Sample(image, truth, 1, (height, width), np.array([[0, 0, 20, 20]], np.float32), seed)


def test_without_scaling_it_is_a_plain_crop():
    places = set()
    for seed in range(30):
        before = sample(seed=seed)
        after = ScaleCrop([32, 40], [1.0, 1.0])(before)
        assert after.image.shape == (32, 40, 3) and after.truth.semantic.shape == (32, 40)
        found = [
            (y, x)
            for y in range(29)
            for x in range(51)
            if np.array_equal(before.truth.semantic[y : y + 32, x : x + 40], after.truth.semantic)
            and np.array_equal(before.image[y : y + 32, x : x + 40], after.image)
        ]
        assert found
        places.add(found[0])
    assert len(places) > 20


@pytest.mark.parametrize("scales", [[0.5, 0.5], [2.0, 2.0], [0.5, 2.0], [1.3, 1.3]])
def test_labels_stay_on_their_pixels(scales):
    """Away from the board's lines the red of a pixel is ten times its label, at any scale and place."""
    for seed in range(20):
        after = ScaleCrop([48, 64], scales)(sample(120, 180, seed, cell=24))
        labels, red = after.truth.semantic, after.image[..., 0].astype(int)
        inside = labels != 255
        near = np.abs(red - 10 * labels) <= 2
        assert near[inside].mean() > 0.6  # the rest is blended at the lines
        flat = np.ones_like(inside)  # whose neighbours within 4 pixels have the same label
        for axis in (0, 1):
            for shift in range(-4, 5):
                flat &= np.roll(labels, shift, axis) == labels
        flat[:4], flat[-4:], flat[:, :4], flat[:, -4:] = False, False, False, False
        assert (flat & inside).sum() > 100 and near[flat & inside].all()
        assert set(np.unique(labels[inside])) <= set(range(19))


def test_what_is_smaller_stays_so_and_the_batch_is_padded():
    """Not with black pixels, which would count as picture: the batch knows where the picture ends."""
    crop = ScaleCrop([100, 200], [1.0, 1.0])
    after = crop(sample())
    assert np.array_equal(after.image, sample().image)
    assert after.truth.boxes.tolist() == sample().truth.boxes.tolist() and len(after.truth.points) == 3
    assert crop_size(Chain([RandomFlip(), crop])) == crop_size(crop) == (100, 200) and crop_size(RandomFlip()) is None
    batch, targets = collate([after], crop_size(crop), 1)
    assert batch.pixels.shape == (1, 3, 100, 200) and batch.sizes.tolist() == [[60, 90]]
    assert (targets.semantic[0, 60:] == 255).all() and (targets.semantic[0, :60, 90:] == 255).all()


def test_points_on_the_pictures_border_stay():
    """A flip turns x = 0 into x = width."""
    border = np.array([[90, 30, 1], [45, 60, 1], [0, 0, 1]], np.float32)
    before = replace(sample(), truth=replace(sample().truth, points=border))
    assert len(ScaleCrop([60, 90], [1.0, 1.0])(before).truth.points) == 3
    left, right = cut(before, 0, 0, 60, 45), cut(before, 0, 45, 60, 90)
    assert len(left.truth.points) + len(right.truth.points) == 3, "each in one of two windows side by side"


def test_boxes_masks_and_points_are_moved_clipped_and_dropped():
    part = cut(sample(), 12, 10, 40, 85)
    assert part.image.shape == (28, 75, 3)
    assert part.truth.boxes.tolist() == [[0, 0, 20, 24]] and part.truth.labels.tolist() == [4]
    assert part.truth.crowd.tolist() == [False] and part.truth.image_label == 3
    assert part.truth.masks[0, :24, :20].all() and part.truth.masks[0].sum() == 480
    assert part.truth.points.tolist() == [[20, 24, 3]]  # (6, 12) is left of it, (89.5, 59.5) beyond
    assert part.proposals.tolist() == [[0, 0, 10, 8]]
    assert len(cut(sample(), 0, 40, 20, 60).truth.boxes) == 0


def test_boxes_frame_their_masks_at_any_scale():
    seen = 0
    for seed in range(60):
        truth = ScaleCrop([40, 40], [0.7, 2.0])(sample(seed=seed)).truth
        for box, mask in zip(truth.boxes, truth.masks, strict=True):
            if mask.any():
                ys, xs = np.nonzero(mask)
                frame = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                assert box == pytest.approx(frame, abs=1.01)
                seen += 1
    assert seen > 20


def test_points_keep_their_kernels_in_scale():
    after = ScaleCrop([120, 180], [2.0, 2.0])(sample())
    assert after.truth.points.tolist() == [[12, 24, 4], [60, 72, 6], [179, 119, 2]]


def test_the_seed_alone_decides():
    crop = pickle.loads(pickle.dumps(ScaleCrop([32, 40])))
    first, again, other = crop(sample(seed=5)), crop(sample(seed=5)), crop(sample(seed=6))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.truth.semantic, again.truth.semantic)
    assert not np.array_equal(first.image, other.image)


def test_scales_are_drawn_evenly_from_the_whole_range():
    cells = []  # width of the board's cells after scaling
    for seed in range(300):
        labels = ScaleCrop([20, 200], [0.5, 2.0])(sample(100, 100, seed, cell=100)).truth.semantic
        cells.append(min(200, labels.shape[1]))
    assert min(cells) < 60 and max(cells) > 190 and np.mean(cells) == pytest.approx(125, abs=8)
    assert np.mean(np.array(cells) < 87.5) == pytest.approx(0.25, abs=0.08)


def test_scales_are_on_top_of_the_networks_size():
    """A rule of half the size and a factor of 1 are a factor of a half."""
    crop = ScaleCrop([20, 30], [1.0, 1.0])
    chain = on_top_of(Chain([RandomFlip(), crop]), lambda size: (size[0] // 2, size[1] // 2))
    assert chain.sets_size and chain.steps[1].shape((60, 90)) == (30, 45)
    half = replace(crop, scales=[0.5, 0.5])
    assert np.array_equal(chain.steps[1](sample()).image, half(sample()).image)
    assert on_top_of(None, TestResize(20, 40).shape) is None
    flip = RandomFlip()
    assert on_top_of(flip, TestResize(20, 40).shape) is flip


@pytest.mark.parametrize(("settings", "words"), [({"size": [0, 3]}, "size must be"), ({"size": [3]}, "size must be"),
                                                 ({"size": [2.5, 3]}, "size must be"),
                                                 ({"size": [3, 3], "scales": [2, 1]}, "scales must be"),
                                                 ({"size": [3, 3], "scales": [0, 1]}, "scales must be")])  # fmt: skip
def test_impossible_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        ScaleCrop(**settings)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 5)])
def test_tiny_pictures(size):
    none = np.zeros(0, np.int64)
    truth = Truth(np.zeros((0, 4), np.float32), none, none.astype(bool), semantic=np.full(size, 255))
    for seed in range(5):
        after = ScaleCrop([16, 16])(Sample(np.zeros((*size, 3), np.uint8), truth, 1, size, None, seed))
        assert max(after.image.shape[:2]) <= 16 and (after.truth.semantic == 255).all()
        assert after.truth.masks is None and after.truth.points is None and after.proposals is None


def test_the_configuration_in_a_data_set(tmp_path):
    path = write_picture(tmp_path / "a.jpg", (60, 90))
    mask = write_mask(tmp_path / "a.png", np.ones((60, 90)))
    maps = IndexMaps(Blobs.pack([str(mask).encode()]), index_table(range(2)))
    index = pack_segmentation(["a", "b"], None, "s", [str(path)], maps)
    augment = instantiate(compose("train", ["augment=scale_crop"]).augment)
    data = SegmentationDataset(index, augment, TestResize(600, 900), seed=0)
    labels = [data[epoch, 0].truth.semantic for epoch in range(8)]
    sides = {found.shape for found in labels}
    assert (512, 512) in sides and min(sides) < (512, 512)  # on top of 600 x 900: 300 x 450 up to 1200 x 1800
    assert data.size((0, 0)) == (512, 512), "what batches are padded to"
    assert np.array_equal(data[3, 0].image, data[3, 0].image)


def test_flips_move_labels_exactly():
    before = sample()
    assert np.array_equal(flip_horizontal(before).truth.semantic, before.truth.semantic[:, ::-1])
    assert np.array_equal(flip_vertical(before).truth.semantic, before.truth.semantic[::-1])
    chain = Chain([RandomFlip(p=1.0), ScaleCrop([60, 90], [1.0, 1.0])])
    assert np.array_equal(chain(before).truth.semantic, before.truth.semantic[:, ::-1])
    assert np.array_equal(chain(before).image, before.image[:, ::-1])


def test_albumentations_move_labels_to_the_nearest_pixel():
    """Rotated and scaled, a label map holds the old labels and 255 alone, on pixels of their own colour."""
    steps = [
        {"name": "HorizontalFlip", "p": 0.5},
        {"name": "Affine", "p": 1.0, "rotate": [-20, 20], "scale": [0.8, 1.3]},
        {"name": "RandomCrop", "p": 1.0, "height": 80, "width": 100},
    ]
    augment = Augment(steps)
    moved = 0
    for seed in range(10):
        before = replace(sample(120, 180, seed, cell=24), proposals=None)
        before = replace(before, truth=replace(before.truth, points=None))
        after = augment(before)
        labels, red = after.truth.semantic, after.image[..., 0].astype(int)
        assert labels.shape == (80, 100) and labels.dtype == np.int64
        assert set(np.unique(labels)) <= {*np.unique(before.truth.semantic).tolist(), 255}
        inside = labels != 255
        assert (np.abs(red - 10 * labels) <= 3)[inside].mean() > 0.85
        moved += not np.array_equal(labels, before.truth.semantic[:80, :100])
    assert moved == 10

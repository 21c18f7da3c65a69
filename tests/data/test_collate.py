import numpy as np
import pytest
import torch

from visionkit.data.coco import read_coco
from visionkit.data.collate import collate, pad_images, pad_truths, targets_for
from visionkit.data.dataset import DetectionDataset
from visionkit.data.loaders import test_batches as batches_for_test
from visionkit.data.transforms import TrainResize
from visionkit.ops.resize import TestResize
from visionkit.structures import Sample, Truth


def sample(
    height: int, width: int, objects: int, number: int = 0, masks: bool = False, semantic: bool = False
) -> Sample:
    boxes = np.tile(np.array([1, 2, 9, 8], np.float32), (objects, 1))
    truth = Truth(
        boxes,
        np.full(objects, 3),
        np.arange(objects) == 1,
        np.ones((objects, height, width), bool) if masks else None,
        np.ones((height, width), np.int64) if semantic else None,
    )
    image = np.random.default_rng(number).integers(1, 255, (height, width, 3), np.uint8)
    return Sample(image, truth, number, (height, width), seed=number + 2**62)


def test_pads_right_and_bottom_to_a_multiple() -> None:
    samples = [sample(40, 33, 2, 7), sample(20, 70, 0, 8)]
    batch, targets = collate(samples)
    assert batch.pixels.shape == (2, 3, 64, 96) and batch.sizes.tolist() == [[40, 33], [20, 70]]
    assert batch.ids.tolist() == [7, 8] and batch.seeds.tolist() == [7 + 2**62, 8 + 2**62]
    for pixels, given in zip(batch.pixels, samples, strict=True):
        height, width = given.image.shape[:2]
        assert torch.equal(pixels[:, :height, :width], torch.from_numpy(given.image).permute(2, 0, 1))
        assert int(pixels[:, height:].sum()) == int(pixels[:, :, width:].sum()) == 0
    assert targets.boxes.shape == (2, 2, 4) and targets.valid.tolist() == [[True, True], [False, False]]
    assert targets.crowd.tolist() == [[False, True], [False, False]] and targets.labels[1].tolist() == [0, 0]
    assert targets.masks is None and targets.semantic is None and targets.image_labels is None


def test_channels_last_without_a_copy() -> None:
    pixels = collate([sample(32, 64, 1), sample(32, 64, 1)])[0].pixels
    assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_fixed_canvas() -> None:
    assert collate([sample(40, 33, 1)], canvas=(50, 60))[0].pixels.shape == (1, 3, 50, 60)
    with pytest.raises(ValueError, match="40 x 33 does not fit the canvas of 50 x 32"):
        collate([sample(40, 33, 1)], canvas=(50, 32))
    with pytest.raises(ValueError, match="at least one"):
        pad_images([], [], [])


def test_no_truth_at_all_is_padded_to_one() -> None:
    targets = collate([sample(8, 8, 0, masks=True)])[1]
    assert targets.boxes.shape == (1, 1, 4) and not targets.valid.any() and targets.masks.shape == (1, 1, 32, 32)
    assert pad_truths([], (8, 8)).boxes.shape == (0, 1, 4)


def test_masks_and_semantic() -> None:
    batch, targets = collate([sample(8, 10, 1, masks=True, semantic=True), sample(6, 4, 3, masks=True, semantic=True)])
    assert targets.masks.shape == (2, 3, 32, 32) and targets.masks.dtype == torch.bool
    assert targets.masks.sum((2, 3)).tolist() == [[80, 0, 0], [24, 24, 24]]
    assert targets.semantic.dtype == torch.int64
    assert (targets.semantic[1, :6, :4] == 1).all() and int((targets.semantic[1] == 255).sum()) == 32 * 32 - 24
    mixed = collate([sample(8, 10, 1, masks=True), sample(6, 4, 3)])[1]
    assert mixed.masks is None


def test_validation_targets_equal_the_training_ones(coco_file, annotation) -> None:
    """The truth of a test batch, without decoding a picture again."""
    polygon = [[10, 5, 30, 5, 30, 20, 10, 20]]
    index = read_coco(*coco_file([annotation(segmentation=polygon), annotation(id=6, image_id=7, iscrowd=1)]))
    resize = TestResize(20, 100)
    dataset = DetectionDataset(index, None, TrainResize(20, 100), 0, with_masks=True)
    for positions, batch, _ in batches_for_test(index, resize, 2):
        found = targets_for(index, positions, batch, with_masks=True)
        expected_batch, expected = collate([dataset[(0, i)] for i in positions])
        assert torch.equal(batch.pixels, expected_batch.pixels)
        for name in ("boxes", "labels", "valid", "crowd", "masks"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name

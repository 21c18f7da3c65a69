import numpy as np
import pytest

from visionkit.data.dataset import DetectionDataset
from visionkit.data.square import TrainSquare
from visionkit.data.transforms import RandomFlip


def test_boxes_are_stretched_with_their_pictures(many):
    dataset = DetectionDataset(many([(40, 60), (30, 20), (50, 50)]), None, TrainSquare(32), seed=0)
    for i, (height, width) in enumerate(((40, 60), (30, 20))):
        sample = dataset[0, i]
        assert sample.image.shape == (32, 32, 3) and dataset.size((0, i)) == (32, 32)
        assert sample.original_size == (height, width)
        expected = [32 / width, 64 / height, 16, 16]  # 1 2 width/2 height/2 of the fixture
        assert sample.truth.boxes[0] == pytest.approx(expected)
    assert dataset[0, 2].truth.boxes.shape == (0, 4), "a picture without an object"


def test_after_an_augmentation(many):
    index = many([(40, 60)])
    turned = DetectionDataset(index, RandomFlip(1.0), TrainSquare(32), seed=0)[0, 0]
    plain = DetectionDataset(index, None, TrainSquare(32), seed=0)[0, 0]
    assert turned.truth.boxes[0] == pytest.approx([16, plain.truth.boxes[0, 1], 32 - 32 / 60, 16], abs=1e-4)
    assert np.abs(turned.image[:, ::-1].astype(int) - plain.image).max() <= 1

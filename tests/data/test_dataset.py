import numpy as np
import pytest

from visionkit.data.dataset import DetectionDataset
from visionkit.data.index import IndexBuilder
from visionkit.data.transforms import RandomFlip, TrainResize
from visionkit.errors import DataError
from visionkit.ops.hashing import mix


def test_sample_at_network_size(many) -> None:
    index = many([(40, 60), (30, 20)])
    sample = DetectionDataset(index, None, TrainResize(20, 100), seed=3)[(2, 1)]
    assert sample.image.shape == (30, 20, 3) and sample.id == 101 and sample.original_size == (30, 20)
    assert sample.seed == mix(3, 2, 101)
    assert sample.truth.crowd.tolist() == [True]  # difficult
    first = DetectionDataset(index, None, TrainResize(20, 100), seed=3)[(2, 0)]
    assert first.image.shape == (20, 30, 3) and first.truth.boxes == pytest.approx(np.array([[0.5, 1, 15, 10]]))
    assert first.truth.crowd.tolist() == [False]


def test_epochs_differ_and_repeat(many) -> None:
    dataset = DetectionDataset(many([(40, 60)]), RandomFlip(), None, seed=0)
    images = [dataset[(epoch, 0)].image for epoch in range(12)]
    flipped = [not np.array_equal(image, images[0]) for image in images]
    assert any(flipped) and not all(flipped[1:])
    assert all(np.array_equal(dataset[(epoch, 0)].image, images[epoch]) for epoch in (5, 11, 2))


def test_augmented_before_resized(many) -> None:
    seen = []
    dataset = DetectionDataset(many([(40, 60)]), lambda s: seen.append(s.image.shape) or s, TrainResize(20, 90), 0)
    assert dataset[(0, 0)].image.shape == (20, 30, 3) and seen == [(40, 60, 3)]


def test_masks_only_on_demand(many) -> None:
    index = many([(40, 60)])
    assert DetectionDataset(index, None, None, 0)[(0, 0)].truth.masks is None
    with pytest.raises(DataError, match="hold no masks"):
        DetectionDataset(index, None, None, 0, with_masks=True)


def test_picture_of_another_size_than_stated(many) -> None:
    path = many([(40, 60)]).path(0)
    builder = IndexBuilder(["a"], "wrong")
    builder.add_image(path, 1, (60, 40))
    with pytest.raises(DataError, match=r"0\.jpg is 60 x 40 pixels \(upright\), but its annotation says 40 x 60"):
        DetectionDataset(builder.build(), None, None, 0)[(0, 0)]

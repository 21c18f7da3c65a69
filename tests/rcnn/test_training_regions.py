"""The regions that the fits see: against a direct computation, crowds, empty pictures, no proposals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from visionkit.errors import DataError
from visionkit.training_regions import TrainingRegions


def test_overlaps_equal_torchvisions(data):
    regions = TrainingRegions(data.train, 25)
    for i in (3, 4):
        one, truth = regions[i], data.train.truth(i)
        assert len(one.boxes) == len(truth.boxes) + 25
        ious = box_iou(torch.from_numpy(one.boxes), torch.from_numpy(truth.boxes)).numpy()
        for label in range(3):
            mine = ious[:, truth.labels == label]
            np.testing.assert_allclose(one.overlap[:, label], mine.max(axis=1) if mine.size else 0, atol=1e-6)
        np.testing.assert_allclose(one.best, ious.max(axis=1), atol=1e-6)
        np.testing.assert_array_equal(one.matched, truth.boxes[ious.argmax(axis=1)])
        np.testing.assert_array_equal(one.matched_labels, truth.labels[ious.argmax(axis=1)])
        assert one.labels.tolist() == [*truth.labels, *[-1] * 25]
        assert set(range(len(truth.boxes))) <= set(one.pairs(0.6))


def test_background_is_told_class_by_class_and_other_objects_are_background(data):
    one = TrainingRegions(data.train, 25)[3]
    own, other = one.labels[0], 1 - one.labels[0]
    assert not one.background(own, 0.3)[0] and one.background(other, 0.3)[0]
    assert (one.background(own, 0.3) == (one.overlap[:, own] < 0.3)).all()


def test_a_crowd_is_neither(data):
    one = TrainingRegions(data.train, 30)[1]
    assert len(one.labels[one.labels >= 0]) == 1, "the crowd is no object"
    on = one.on_crowd
    assert on.any() and not on.all() and not on[0]
    assert not any(one.background(label, 0.3)[on].any() for label in range(3))


def test_pictures_without_objects_and_without_proposals(data):
    regions = TrainingRegions(data.train, 30)
    nothing = regions[0]
    assert len(nothing.boxes) == 30 and len(nothing.pairs(0.6)) == 0 and nothing.background(0, 0.3).all()
    alone = regions[2]
    assert len(alone.boxes) == len(data.train.truth(2).boxes) and len(alone.pairs(0.6)) == len(alone.boxes)


def test_no_proposals_at_all(data, plain_index):
    with pytest.raises(DataError, match="blocks: the images come without proposals"):
        TrainingRegions(plain_index, 10)
    proposals = data.train.proposals.best(0)
    with pytest.raises(DataError, match="blocks: there is not a single proposal in 12 images"):
        TrainingRegions(replace(plain_index, proposals=proposals), 10)

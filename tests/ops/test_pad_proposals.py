"""Proposals of several pictures in one padded noun."""

import numpy as np
import torch

from visionkit.ops.pad_proposals import pad_proposals


def test_boxes_move_with_the_picture_and_padding_is_not_valid():
    found = [
        (np.array([[0, 0, 10, 20], [5, 5, 15, 25]], np.float32), np.array([0.9, 0.3], np.float32)),
        (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)),
    ]
    padded = pad_proposals(found, [(40, 20), (10, 10)], [(80, 10), (30, 30)])
    assert padded.boxes.shape == (2, 2, 4)
    assert padded.boxes[0].tolist() == [[0, 0, 5, 40], [2.5, 10, 7.5, 50]]
    assert padded.valid.tolist() == [[True, True], [False, False]]
    assert torch.equal(padded.scores[0], torch.tensor([0.9, 0.3]))


def test_no_proposals_at_all():
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    padded = pad_proposals([nothing, nothing], [(4, 4)] * 2, [(4, 4)] * 2)
    assert padded.boxes.shape == (2, 0, 4) and padded.valid.shape == (2, 0)

"""Classifiers of every cell by itself."""

import torch

from visionkit.heads.pixel_classifier import PixelClassifier


def test_every_cell_goes_through_two_layers_by_itself():
    torch.manual_seed(0)
    head, maps = PixelClassifier("c3", 5, 7, 4), torch.randn(2, 5, 3, 6)
    found = head({"c3": maps}, (3, 6))
    assert found.shape == (2, 4, 3, 6)
    (w1, b1), (w2, b2) = ((m.weight.flatten(1), m.bias) for m in (head.hidden[0], head.scores))
    for y, x in ((0, 0), (2, 5)):
        expected = (maps[:, :, y, x] @ w1.T + b1).relu() @ w2.T + b2
        torch.testing.assert_close(found[:, :, y, x], expected, atol=1e-6, rtol=1e-4)
    assert head({"c3": maps}, (13, 22)).shape == (2, 4, 13, 22)


def test_without_hidden_units_it_is_linear_and_no_pictures_are_fine():
    head = PixelClassifier("c3", 5, 0, 4)
    assert {name for name, _ in head.named_parameters()} == {"scores.weight", "scores.bias"}
    assert head({"c3": torch.zeros(0, 5, 3, 3)}, (12, 12)).shape == (0, 4, 12, 12)
    assert torch.equal(head.coarse(torch.zeros(1, 5, 2, 2))[0, :, 1, 1], head.scores.bias)

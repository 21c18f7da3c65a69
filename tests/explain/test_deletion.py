"""Deletion and insertion of models whose curves can be computed by hand."""

import pytest
import torch

from visionkit.errors import ConfigError
from visionkit.explain.deletion import (
    area,
    deletion_curve,
    importance_order,
    insertion_curve,
    random_order,
    replacement_curve,
)

WEIGHTS = torch.tensor([[0.4, 0.1], [0.2, 0.3]])  # of the pixels of an image of 2 x 2


def linear(images):
    """A score of images (B, 1, 2, 2) that is a weighted sum."""
    return (images[:, 0] * WEIGHTS).sum(dim=(1, 2))


ONES = torch.ones(1, 1, 2, 2)


def test_the_order_is_by_value_and_then_by_place():
    maps = torch.tensor([[[1.0, 3.0, 1.0], [3.0, 0.0, 2.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert importance_order(maps).tolist() == [[1, 3, 5, 0, 2, 4], [0, 1, 2, 3, 4, 5]]
    assert importance_order(torch.zeros(0, 2, 3)).shape == (0, 6)


def test_deletion_of_a_linear_score():
    best = deletion_curve(linear, ONES, importance_order(WEIGHTS[None]), steps=4)
    assert best[0].tolist() == pytest.approx([1.0, 0.6, 0.3, 0.1, 0.0])
    worst = deletion_curve(linear, ONES, importance_order(-WEIGHTS[None]), steps=4)
    assert worst[0].tolist() == pytest.approx([1.0, 0.9, 0.7, 0.4, 0.0])
    assert area(torch.cat([best, worst])).tolist() == pytest.approx([1.5 / 4, 2.5 / 4])  # less half of the first
    two = deletion_curve(linear, ONES, importance_order(WEIGHTS[None]), steps=2)
    assert two[0].tolist() == pytest.approx([1.0, 0.3, 0.0])


def test_insertion_begins_with_the_blurred_image():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1.0

    def middle(images):
        return images[:, 0, 4, 4]

    order = importance_order(image[:, 0])
    curve = insertion_curve(middle, image, order, steps=81)
    assert 0 < float(curve[0, 0]) < 0.05, "spread over its neighbours"
    assert curve[0, 1:].tolist() == [1.0] * 81
    last = insertion_curve(middle, image, order.flip(1), steps=81)
    assert (last[0, :81] == last[0, 0]).all() and float(last[0, 81]) == 1.0


def test_every_image_has_its_own_order_whatever_the_batch():
    images, orders = torch.rand(3, 2, 5, 4), random_order(3, (5, 4), seed=1)

    def score(given):
        assert len(given) <= 4
        return given[:, 0].square().sum(dim=(1, 2))

    found = replacement_curve(score, images, torch.zeros_like(images), orders, steps=7, batch_size=4)
    assert found.shape == (3, 8)
    for i in range(3):
        alone = replacement_curve(score, images[i : i + 1], torch.zeros(1, 2, 5, 4), orders[i : i + 1], 7, 3)
        assert torch.equal(alone[0], found[i])
        assert float(found[i, 0]) == pytest.approx(float(score(images[i : i + 1]))) and float(found[i, -1]) == 0


def test_a_random_order_follows_from_its_seed():
    first = random_order(2, (6, 5), seed=3)
    assert torch.equal(first, random_order(2, (6, 5), seed=3)) and not torch.equal(first, random_order(2, (6, 5), 4))
    assert torch.equal(first[:1], random_order(1, (6, 5), seed=3)) and not torch.equal(first[0], first[1])
    assert first.sort(dim=1).values.tolist() == [list(range(30))] * 2


def test_no_image_is_no_curve():
    none = torch.zeros(0, 3, 4, 4)
    for curve in (deletion_curve, insertion_curve):
        assert curve(linear, none, random_order(0, (4, 4), 0), steps=5).shape == (0, 6)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"batch_size": 0}])
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}=0"):
        deletion_curve(linear, ONES, importance_order(WEIGHTS[None]), **settings)

"""The box head of a localizer: it starts at the mean box, learns deltas to it, and takes nothing for an answer."""

import pytest
import torch

from visionkit.heads.localize import FlattenMaps, LocalizeHead
from visionkit.ops.deltas import encode

MEAN = torch.tensor([0.2, 0.1, 0.7, 0.9])


def head(boxes: int = 1, loss: str = "smooth_l1", beta: float = 0.1) -> LocalizeHead:
    made = LocalizeHead(None, 6, boxes, loss, beta)
    made.fit(MEAN)
    return made


def test_an_untrained_head_says_the_mean_box():
    made = LocalizeHead(None, 6, 3)
    assert not made.fitted
    made.fit(MEAN)
    assert made.fitted and "mean_box" in made.state_dict(), "it travels in the checkpoint"
    deltas = made(torch.randn(2, 6))
    torch.testing.assert_close(made.decode(deltas), MEAN.expand(2, 3, 4))


@pytest.mark.parametrize(("loss", "beta"), [("l2", 0.1), ("smooth_l1", 0.1), ("smooth_l1", 1e9)])
def test_errors_equal_a_direct_computation(loss, beta):
    made = head(3, loss, beta)
    torch.nn.init.normal_(made.linear.weight)
    deltas, labels = made(torch.randn(5, 6)), torch.tensor([0, 2, 1, 1, 0])
    corner = torch.rand(5, 2) * 0.5
    truth = torch.cat((corner, corner + 0.1 + torch.rand(5, 2) * 0.4), dim=1)
    for i, found in enumerate(made.errors(deltas, labels, truth)):
        gap = (deltas[i, labels[i]] - encode(MEAN, truth[i])).abs()
        squared = 0.5 * gap**2 / (1 if loss == "l2" else beta)
        expected = squared if loss == "l2" else torch.where(gap < beta, squared, gap - beta / 2)
        torch.testing.assert_close(found, expected.sum())


def test_one_box_serves_all_classes():
    made = head(1)
    deltas = made(torch.randn(2, 6))
    assert deltas.shape == (2, 1, 4)
    truth = torch.tensor([[0.1, 0.1, 0.5, 0.5]]).repeat(2, 1)
    a, b = (made.errors(deltas, torch.tensor(labels), truth) for labels in ([0, 1], [5, 0]))
    assert torch.equal(a, b)


def test_truth_is_decoded_again_and_cut_to_the_picture():
    made = head()
    truth = torch.tensor([[[0.05, 0.3, 0.6, 0.95]]])
    torch.testing.assert_close(made.decode(encode(MEAN, truth)), truth)
    assert made.decode(torch.tensor([[[9.0, 9.0, 9.0, 9.0]]])).max() == 1


def test_no_box_and_no_picture_are_finite():
    made = head()
    errors = made.errors(made(torch.randn(2, 6)), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 4))
    assert errors.isfinite().all()
    (errors * 0).sum().backward()
    assert made.linear.weight.grad.isfinite().all()
    assert made(torch.zeros(0, 6)).shape == (0, 1, 4)


def test_flattened_maps_know_places_and_take_other_sizes():
    torch.manual_seed(0)
    body = FlattenMaps(8, 4, 5)
    maps = torch.randn(2, 8, 4, 4)
    vectors = body(maps)
    assert vectors.shape == (2, body.out_channels) == (2, 80)
    torch.testing.assert_close(vectors, body.conv(maps).relu().flatten(1))
    assert not torch.allclose(body(maps.flip(3)), vectors), "a mean would not see the difference"
    assert body(torch.randn(1, 8, 7, 9)).shape == (1, 80)

"""Known truths: what follows exactly, what ignores exactly, what does neither, and what the number 1 means."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier
from visionkit.backbones.p4_cnn import p4_cnn, plain_cnn
from visionkit.errors import DataError
from visionkit.explain.invariance import Gap, measure
from visionkit.explain.motions import mirror, rotate, shift, turn_over
from visionkit.models.build import classifier


class Tiny(Backbone):
    """Two convolutions without padding, the first of some stride; their mean is the vector."""

    min_size, resolution = 16, 32

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, stride), nn.Conv2d(4, 5, 3)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.stages = {"c0": Stage(4, stride), "c1": Stage(5, stride)}
        self.paths = {"c0": ("first", "act1"), "c1": ("second", "act2")}
        self.region_stages = self.proposal_stages = ("c1",)
        self.window, self.out_channels = 8, 5

    def tail_maps(self, windows: Tensor) -> Tensor:
        return windows

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(5, num_classes)


def found(model, motions, images=None, margin=0.25):
    images = torch.randn(6, 3, 32, 32) if images is None else images
    rows, answers = measure(model.eval(), images.split(4), motions, margin=margin)
    return {(row.kind, row.amount, row.layer): row for row in rows}, answers


def test_unpadded_convolutions_follow_shifts_exactly():
    rows, _ = found(Tiny(), [shift(1), shift(5), shift(-8), shift(0.5)], margin=0.15)
    for amount in (1, 5, -8):
        for layer in ("c0", "c1"):
            row = rows["shift", amount, layer]
            assert row.follows < 1e-5, layer
            assert 0.5 < row.ignores < 1.5, "noise that is shifted is another picture"
    assert rows["shift", 0.5, "c1"].follows > 0.05, "between pixels, interpolating and a ReLU do not commute"


@pytest.mark.parametrize("stride", [2, 4])
def test_shifts_by_the_stride_are_exact_and_by_half_of_it_are_not(stride):
    motions = [shift(stride), shift(2 * stride), shift(stride / 2)]
    rows, _ = found(Tiny(stride), motions)
    assert rows["shift", stride, "c1"].follows < 1e-5 and rows["shift", 2 * stride, "c1"].follows < 1e-5
    assert rows["shift", stride / 2, "c1"].follows > 0.3


def test_the_mean_of_maps_that_follow_ignores():
    """On pictures that repeat, so that nothing comes in or goes out."""
    net = Tiny()
    pattern = torch.randn(6, 3, 4, 4).repeat(1, 1, 8, 8)
    rows, _ = found(classifier(net, 3), [shift(4)], pattern)
    assert rows["shift", 4, "vector"].ignores < 0.6  # the mirrored border is another pattern

    class Wrapped(Tiny):
        def forward(self, images, names):
            return super().forward(F.pad(images, (2, 2, 2, 2), "circular"), names)

    symmetric = torch.cat([pattern[..., :16], pattern[..., :16].flip(3)], dim=3)  # so is its shift, mirrored in
    rows, answers = found(classifier(Wrapped(), 3), [rotate(180)], symmetric + symmetric.flip(2).flip(3))
    assert rows["rotate", 180, "c0"].ignores < 1e-5 and answers[0].kept == 1


def test_filters_that_are_symmetric_follow_mirrorings_and_others_do_not():
    net = Tiny()
    rows, _ = found(net, [mirror(), turn_over()])
    assert min(rows["mirror", 1, "c0"].follows, rows["turn over", 1, "c0"].follows) > 0.3
    even = copy.deepcopy(net)
    for conv in (even.first, even.second):
        conv.weight.data = conv.weight.data + conv.weight.data.flip(2)
    rows, _ = found(even, [mirror(), turn_over()])
    assert rows["turn over", 1, "c1"].follows < 1e-5 and rows["turn over", 1, "vector"].ignores < 1e-5
    assert rows["mirror", 1, "c1"].follows > 0.3


def test_rotations_of_the_p4_network():
    images = torch.randn(6, 1, 32, 32)
    rows, answers = found(classifier(p4_cnn(), 4), [rotate(90), rotate(45)], images)
    assert rows["rotate", 90, "tail"].follows < 1e-4 and rows["rotate", 90, "vector"].ignores < 1e-4
    assert rows["rotate", 90, "c0"].follows > 0.3, "its channels change places, which this measure does not follow"
    assert rows["rotate", 45, "tail"].follows > 0.3 and answers[0].kept == 1
    rows, _ = found(classifier(plain_cnn(), 4), [rotate(90)], images)
    assert rows["rotate", 90, "tail"].follows > 0.3


def test_standing_still_is_zero_and_another_picture_is_one():
    rows, answers = found(classifier(Tiny(), 3), [shift(0)])
    assert all(row.ignores == 0 and row.follows in (0, None) for row in rows.values())
    assert answers[0].kept == 1
    torch.manual_seed(0)
    gap, a = Gap(), torch.randn(400, 8)
    gap.add(a, torch.randn(400, 8))
    assert gap.distance() == pytest.approx(1, abs=0.02), "partners no nearer than others"


def test_the_number_is_what_it_says():
    a, b = torch.rand(5, 7), torch.rand(5, 7)
    gap = Gap()
    gap.add(a[:2], b[:2])
    gap.add(a[2:], b[2:])
    squares = torch.cdist(a, b).square()
    cosines = F.cosine_similarity(a[:, None], b[None], dim=2)
    same = torch.eye(5, dtype=torch.bool)
    assert gap.distance() == pytest.approx(float((squares[same].mean() / squares[~same].mean()).sqrt()), rel=1e-5)
    assert gap.cosine() == pytest.approx((float(cosines[same].mean()), float(cosines[~same].mean())), rel=1e-5)


def test_what_cannot_be_told():
    gap = Gap()
    gap.add(torch.ones(3, 2), torch.zeros(3, 2))
    assert gap.distance() == 1.0
    same = Gap()
    same.add(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]]))
    assert same.distance() is None, "others are equal and partners are not"
    rows, _ = found(Tiny(), [shift(31)])
    assert rows["shift", 31, "c1"].follows is None and rows["shift", 31, "vector"].ignores is not None
    with pytest.raises(DataError, match="1 will not do"):
        found(Tiny(), [shift(1)], torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match="margin"):
        found(Tiny(), [shift(1)], margin=0.5)

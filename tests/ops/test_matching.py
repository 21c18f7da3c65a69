import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from visionkit.ops.boxes import iou
from visionkit.ops.matching import match


def torchvisions(quality, low, high, keep_best):
    """torchvision's matcher on (G, N) -> index with -1 = negative, -2 = between."""
    from torchvision.models.detection._utils import Matcher

    return Matcher(high, low, keep_best)(quality)


def joined(matches):
    """Our answer in torchvision's coding."""
    return torch.where(matches.kind == 1, matches.index, torch.where(matches.kind == 0, -1, -2))


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.3, 0.7), (0.5, 0.5), (0.0, 0.4)])
def test_equal_to_torchvision_on_random_overlaps_with_ties(low, high, keep_best):
    torch.manual_seed(0)
    for trial in range(40):
        truths, boxes = 1 + trial % 6, 1 + trial % 17
        quality = torch.randint(1, 11, (3, truths, boxes)) / 10  # ties everywhere, also at the thresholds
        ours = match(quality, torch.ones(3, truths, dtype=torch.bool), low, high, keep_best)
        for image in range(3):
            theirs = torchvisions(quality[image], low, high, keep_best)
            assert torch.equal(joined(ours)[image], theirs)


def test_equal_to_torchvision_on_boxes_with_padding():
    torch.manual_seed(1)
    grid = torch.arange(0, 96, 8.0)
    anchors = torch.cartesian_prod(grid, grid)
    anchors = torch.cat((anchors - 12, anchors + 12), dim=1)  # (144, 4)
    for _ in range(20):
        truths = torch.rand(2, 5, 4) * 60
        truths[..., 2:] = truths[..., :2] + 4 + truths[..., 2:] / 2
        valid = torch.rand(2, 5) < 0.6
        valid[:, 2] = True
        overlap = iou(truths, anchors)
        ours = match(overlap, valid, 0.3, 0.7, keep_best=True)
        for image in range(2):
            places = valid[image].nonzero()[:, 0]
            theirs = torchvisions(overlap[image, places], 0.3, 0.7, True)
            expected = torch.where(theirs >= 0, places[theirs.clamp(min=0)], theirs)
            assert torch.equal(joined(ours)[image], expected)


def test_thresholds_include_their_lower_end():
    quality = torch.tensor([[[0.7, 0.69, 0.3, 0.29, 0.0]]])
    assert match(quality, torch.ones(1, 1, dtype=torch.bool), 0.3, 0.7, False).kind.tolist() == [[1, -1, -1, 0, 0]]


def test_best_boxes_become_positive_ties_included_and_keep_their_own_best_truth():
    quality = torch.tensor([[[0.2, 0.2, 0.1, 0.0], [0.0, 0.25, 0.0, 0.0]]])  # two truths, four boxes
    matches = match(quality, torch.ones(1, 2, dtype=torch.bool), 0.3, 0.7, True)
    assert matches.kind.tolist() == [[1, 1, 0, 0]]
    assert matches.index[0, :2].tolist() == [0, 1]  # box 1 is a best box of truth 0, but overlaps truth 1 more
    assert match(quality, torch.ones(1, 2, dtype=torch.bool), 0.3, 0.7, False).kind.tolist() == [[0, 0, 0, 0]]


def test_equal_truths_give_the_first():
    quality = torch.tensor([[[0.9, 0.1], [0.9, 0.1], [0.2, 0.1]]])
    assert match(quality, torch.ones(1, 3, dtype=torch.bool), 0.3, 0.7, False).index.tolist() == [[0, 0]]
    hidden = torch.tensor([[False, True, True]])
    assert match(quality, hidden, 0.3, 0.7, False).index.tolist() == [[1, 1]]


def test_a_truth_that_overlaps_nothing_makes_no_positive():
    quality = torch.tensor([[[0.0, 0.0, 0.0], [0.8, 0.1, 0.0]]])
    assert match(quality, torch.ones(1, 2, dtype=torch.bool), 0.3, 0.7, True).kind.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("low", [0.0, 0.3])
def test_without_a_valid_truth_all_are_negative(low):
    matches = match(torch.rand(2, 3, 5), torch.zeros(2, 3, dtype=torch.bool), low, 0.7, True)
    assert (matches.kind == 0).all() and (matches.index == 0).all()


def test_types_and_empty():
    for truths, boxes in ((0, 4), (3, 0), (0, 0)):
        matches = match(torch.zeros(2, truths, boxes), torch.ones(2, truths, dtype=torch.bool), 0.3, 0.7, True)
        assert matches.kind.shape == matches.index.shape == (2, boxes)
        assert (matches.kind == 0).all()
        assert matches.kind.dtype == torch.int8 and matches.index.dtype == torch.int64
    full = match(torch.rand(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), 0.3, 0.7, True)
    assert full.kind.dtype == torch.int8 and full.index.dtype == torch.int64
    assert match(torch.zeros(0, 3, 4), torch.ones(0, 3, dtype=torch.bool), 0.3, 0.7, True).kind.shape == (0, 4)


def test_thresholds_the_wrong_way_round():
    with pytest.raises(ValueError, match="low <= high"):
        match(torch.rand(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), 0.7, 0.3, True)


def test_no_host_synchronisation():
    with FakeTensorMode():  # holds no values: whatever would have to look at one raises
        truths, anchors = torch.rand(2, 3, 4), torch.rand(50, 4)
        matches = match(iou(truths, anchors), torch.ones(2, 3, dtype=torch.bool), 0.3, 0.7, True)
        with pytest.raises(Exception, match=r"[Dd]ata.?[Dd]ependent|nonzero"):
            (matches.kind == 1).nonzero().tolist()
    assert matches.kind.shape == (2, 50)

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from visionkit.ops.hashing import random_keys
from visionkit.ops.sampling import sample_balanced


def random_kind(batch, count, positive, negative, seed=0):
    """(batch, count) int8 with about these shares of 1 and 0, the rest -1."""
    draw = torch.rand(batch, count, generator=torch.Generator().manual_seed(seed))
    return torch.where(draw < positive, 1, torch.where(draw < positive + negative, 0, -1)).to(torch.int8)


@pytest.mark.parametrize("positive", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("negative", [0.0, 0.01, 0.5])
@pytest.mark.parametrize(("size", "fraction"), [(256, 0.5), (10, 0.25), (7, 0.0), (5, 1.0), (1, 0.5)])
def test_counts_are_those_of_torchvision(positive, negative, size, fraction):
    from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

    kind = random_kind(3, 400, min(positive, 1 - negative), negative)
    samples = sample_balanced(kind, random_keys(torch.arange(3), 400), size, fraction)
    theirs_positive, theirs_negative = BalancedPositiveNegativeSampler(size, fraction)(list(kind))
    for image in range(3):
        used = samples.weights[image] > 0
        chosen = samples.index[image][used]
        assert len(chosen.unique()) == len(chosen)
        is_positive = samples.positive[image][used]
        assert torch.equal(kind[image][chosen], is_positive.to(torch.int8))
        assert is_positive.sum() == theirs_positive[image].sum() <= int(size * fraction)
        assert (~is_positive).sum() == theirs_negative[image].sum()
        assert not samples.positive[image][~used].any()


def test_layout_is_positives_then_negatives_then_padding():
    kind = torch.tensor([[0, 1, -1, 1, 0, -1]], dtype=torch.int8)
    samples = sample_balanced(kind, torch.tensor([[0.1, 0.2, 0.9, 0.3, 0.4, 0.9]]), 6, 0.5)
    assert samples.index.tolist() == [[3, 1, 4, 0, 0, 0]]
    assert samples.weights.tolist() == [[1, 1, 1, 1, 0, 0]]
    assert samples.positive.tolist() == [[True, True, False, False, False, False]]
    assert samples.weights.dtype == torch.float32 and samples.index.dtype == torch.int64


def test_the_same_seed_gives_the_same_choice_whatever_else_is_in_the_batch():
    kind, seeds = random_kind(4, 300, 0.2, 0.6), torch.tensor([5, 6, 7, 8])
    whole = sample_balanced(kind, random_keys(seeds, 300), 32, 0.25)
    order = torch.tensor([2, 0, 3, 1])
    mixed = sample_balanced(kind[order], random_keys(seeds[order], 300), 32, 0.25)
    alone = sample_balanced(kind[1:2], random_keys(seeds[1:2], 300), 32, 0.25)
    for a, b, c in zip(whole, mixed, alone, strict=True):
        assert torch.equal(a[order], b) and torch.equal(a[1:2], c)
    other = sample_balanced(kind, random_keys(seeds + 10, 300), 32, 0.25)
    assert not torch.equal(whole.index, other.index)


def test_padding_the_boxes_changes_nothing():
    kind, seeds = random_kind(2, 100, 0.2, 0.6), torch.tensor([1, 2])
    padded = torch.cat((kind, torch.full((2, 50), -1, dtype=torch.int8)), dim=1)
    for a, b in zip(
        sample_balanced(kind, random_keys(seeds, 100), 16, 0.5),
        sample_balanced(padded, random_keys(seeds, 150), 16, 0.5),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_equal_keys_go_to_the_lower_index():
    kind = torch.zeros(1, 5000, dtype=torch.int8)
    assert sample_balanced(kind, torch.zeros(1, 5000), 300, 0.5).index[0].tolist() == list(range(300))


def test_every_candidate_is_equally_likely():
    kind = torch.tensor([1] * 10 + [0] * 10).expand(4000, 20)
    samples = sample_balanced(kind, random_keys(torch.arange(4000), 20), 8, 0.5)
    counts = torch.bincount(samples.index.flatten(), minlength=20)  # each expected 1600, sigma 31
    assert (counts - 1600).abs().max() < 150


def test_empty_and_short():
    samples = sample_balanced(torch.zeros(2, 0, dtype=torch.int8), torch.zeros(2, 0), 4, 0.5)
    assert samples.index.shape == (2, 4) and samples.weights.sum() == 0 and not samples.positive.any()
    nothing = sample_balanced(torch.full((1, 3), -1, dtype=torch.int8), torch.rand(1, 3), 4, 0.5)
    assert nothing.weights.tolist() == [[0, 0, 0, 0]] and nothing.index.tolist() == [[0, 0, 0, 0]]
    assert sample_balanced(torch.zeros(0, 3, dtype=torch.int8), torch.zeros(0, 3), 4, 0.5).index.shape == (0, 4)


@pytest.mark.parametrize(("size", "fraction"), [(0, 0.5), (4, 1.5), (4, -0.1)])
def test_impossible_requests(size, fraction):
    with pytest.raises(ValueError, match="sample_balanced needs"):
        sample_balanced(torch.zeros(1, 3, dtype=torch.int8), torch.zeros(1, 3), size, fraction)


def test_no_host_synchronisation():
    with FakeTensorMode():  # holds no values: whatever would have to look at one raises
        keys = random_keys(torch.zeros(2, dtype=torch.int64), 60)
        samples = sample_balanced(torch.zeros(2, 60, dtype=torch.int8), keys, 16, 0.25)
    assert samples.index.shape == (2, 16)

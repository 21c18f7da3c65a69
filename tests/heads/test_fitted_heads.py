"""The heads that are fitted and not trained: what they compute, and how they travel in a checkpoint."""

import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionkit.errors import ConfigError
from visionkit.heads.linear_svm import LinearSVM
from visionkit.heads.nearest import NearestNeighbours


def svm(classes=3, channels=4):
    head = LinearSVM(channels, classes)
    head.set(torch.randn(classes, channels), torch.randn(classes), torch.randn(channels), torch.rand(channels) + 0.5)
    return head


def neighbours(known, labels, k, classes=3):
    head = NearestNeighbours(known.shape[1], classes)
    head.set(known, torch.tensor(labels), k)
    return head


def maps_of(vectors):
    return vectors[:, :, None, None]


def through_a_file(head, other):
    file = io.BytesIO()
    torch.save({f"head.{key}": value for key, value in head.state_dict().items()}, file)
    file.seek(0)
    nn.ModuleDict({"head": other}).load_state_dict(torch.load(file, weights_only=True))
    return other


def test_svm_gives_decision_values_of_standardised_means():
    head, maps = svm(), torch.randn(5, 4, 2, 3)
    expected = torch.stack(
        [
            (((maps.mean(dim=(2, 3)) - head.mean) / head.scale) * row).sum(dim=1) + bias
            for row, bias in zip(head.weight, head.bias, strict=True)
        ],
        dim=1,
    )
    torch.testing.assert_close(head(maps), expected)
    assert head(maps[:0]).shape == (0, 3), "no pictures"


def test_neighbours_are_those_of_the_distances_written_out():
    known, labels = torch.randn(40, 6), [i % 3 for i in range(40)]
    vectors = torch.randn(25, 6)
    for k in (1, 4, 40):
        head = neighbours(known, labels, k)
        scores = head(maps_of(vectors))
        nearest = (vectors[:, None] - known[None]).square().sum(dim=2).argsort(dim=1)[:, :k]  # (25, k)
        votes = F.one_hot(torch.tensor(labels)[nearest], 3).sum(dim=1)  # (25, 3)
        chosen = votes.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]
        assert torch.equal(chosen, votes.max(dim=1).values), f"a class with most votes, k={k}"
        torch.testing.assert_close(scores.exp(), (votes + 1 / 3) / (k + 1), atol=0.25 / k, rtol=0)
        torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(25))
        assert scores.isfinite().all()
    assert head(maps_of(vectors[:0])).shape == (0, 3), "no pictures"


def test_equal_counts_are_decided_by_rank_and_equal_distances_by_order():
    known = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    head = neighbours(known, [2, 0, 0, 2], 2)
    assert head(maps_of(torch.tensor([[0.2], [0.9]]))).argmax(dim=1).tolist() == [2, 0]
    same = neighbours(torch.zeros(3, 1), [1, 0, 2], 1)
    assert same(torch.zeros(1, 1, 1, 1)).argmax(dim=1).tolist() == [1]


@pytest.mark.parametrize(("kind", "phases"), [(LinearSVM, "svm"), (NearestNeighbours, "nearest")])
def test_an_unfitted_head_says_what_fits_it(kind, phases):
    head = kind(4, 3)
    assert not head.is_fitted
    with pytest.raises(ConfigError, match=f"{kind.__name__}. has not been fitted to any picture: phases={phases}"):
        head(torch.zeros(1, 4, 1, 1))
    assert not through_a_file(head, kind(4, 3)).is_fitted, "a run saves its beginning, too"


def test_any_number_of_vectors_is_loaded():
    maps = torch.randn(4, 6, 1, 1)
    first, second = (neighbours(torch.randn(n, 6), [i % 3 for i in range(n)], k) for n, k in ((9, 3), (5, 1)))
    for other in (NearestNeighbours(6, 3), second):  # unfitted, and fitted to fewer
        assert torch.equal(through_a_file(first, other)(maps), first(maps))
    fitted, maps = svm(), torch.randn(4, 4, 1, 1)
    assert torch.equal(through_a_file(fitted, LinearSVM(4, 3))(maps), fitted(maps))


def test_vectors_of_another_length_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch for head.known"):
        through_a_file(neighbours(torch.randn(9, 6), [0] * 9, 3), NearestNeighbours(5, 3))
    with pytest.raises(RuntimeError, match="size mismatch for head.weight"):
        through_a_file(svm(channels=4), LinearSVM(5, 3))


def test_its_numbers_are_parameters_that_no_optimizer_gets():
    head = svm()
    assert sum(p.numel() for p in head.parameters()) == 3 * 4 + 3 + 4 + 4
    assert not any(p.requires_grad for p in head.parameters())
    maps = torch.randn(2, 4, 1, 1, requires_grad=True)
    head(maps).sum().backward()
    assert maps.grad is not None, "what is before it may still be trained"


def test_wrong_shapes_are_bugs():
    with pytest.raises(ValueError, match="LinearSVM: weight"):
        LinearSVM(4, 3).set(torch.zeros(3, 5), torch.zeros(3), torch.zeros(4), torch.ones(4))
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k={k}"):
            NearestNeighbours(2, 3).set(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), k)

"""The controller: its probabilities are probabilities, and it learns what is rewarded."""

import itertools
import math
import statistics

import pytest
import torch

from visionkit.search.cell_space import CellSpace
from visionkit.search.controller import Controller
from visionkit.search.search import Learning, best_of, controller_search, random_cells, random_search

TINY = CellSpace(2, ("identity", "sep3"))


def share(cell, operation="sep3"):
    """The share of a cell's operations that are this one."""
    return statistics.fmean(name == operation for node in cell for name in node[::2])


def trained_a_little() -> Controller:
    """Far from its even start."""
    controller = Controller(TINY.options, hidden=8)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(10)
    return controller


@torch.no_grad()
def test_probabilities_of_all_cells_add_up_to_one():
    everything = torch.tensor(list(itertools.product(*map(range, TINY.options))))  # (576, 8)
    log_probability, _ = trained_a_little()(everything)
    assert len(everything) == TINY.size
    assert float(log_probability.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert log_probability.std() > 0.5, "not the even policy"


@torch.no_grad()
def test_the_mean_of_the_entropies_on_the_way_is_the_entropy_of_the_cells():
    everything = torch.tensor(list(itertools.product(*map(range, TINY.options))))
    log_probability, entropy = trained_a_little()(everything)
    p = log_probability.exp()
    assert float((p * entropy).sum()) == pytest.approx(float(-(p * log_probability).sum()), rel=1e-4)
    _, even = Controller(TINY.options)(everything[:1])
    assert float(even) == pytest.approx(math.log(TINY.size), rel=1e-3), "it begins all but even"


@torch.no_grad()
def test_a_choice_depends_on_the_one_before():
    everything = torch.tensor(list(itertools.product(*map(range, TINY.options))))
    p = trained_a_little()(everything)[0].exp()
    first, second = (everything[:, place] == 0 for place in (0, 1))
    assert abs(float(p[first & second].sum() - p[first].sum() * p[second].sum())) > 0.01


@torch.no_grad()
def test_samples_follow_the_probabilities():
    controller, random = trained_a_little(), torch.Generator().manual_seed(0)
    rows = [controller.sample(random) for _ in range(600)]
    for place in (0, 3):  # the first choice, and one that depends on others
        everything = torch.tensor(list(itertools.product(*map(range, TINY.options))))
        p = controller(everything)[0].exp()
        expected = float(p[everything[:, place] == 0].sum())
        found = statistics.fmean(row[place] == 0 for row in rows)
        assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 600))


def test_a_planted_reward_is_learnt():
    trials = list(controller_search(TINY, share, 120, seed=1, learning=Learning(hidden=16, lr=0.02)))
    first = statistics.fmean(t.reward for t in trials[:10])
    last = statistics.fmean(t.reward for t in trials[-30:])
    assert first < 0.7 and last > 0.9, (first, last)
    assert trials[-1].entropy < trials[0].entropy - 1


def test_another_operation_is_learnt_as_well_and_nothing_from_nothing():
    learnt = list(
        controller_search(TINY, lambda cell: share(cell, "identity"), 120, seed=0, learning=Learning(lr=0.02))
    )
    assert statistics.fmean(share(t.cell, "identity") for t in learnt[-30:]) > 0.9
    nothing = list(controller_search(TINY, lambda cell: 0.5, 60, seed=0))
    assert nothing[-1].entropy == pytest.approx(math.log(TINY.size), rel=0.01), "an even reward keeps it even"


def test_entropy_keeps_it_undecided():
    def left(weight: float) -> float:
        learning = Learning(lr=0.03, entropy=weight, hidden=16)
        return list(controller_search(TINY, share, 100, seed=0, learning=learning))[-1].entropy or 0.0

    assert left(1.0) > left(0.0) + 1


def test_searches_repeat_and_seeds_differ():
    def cells(seed):
        return [t.cell for t in controller_search(TINY, share, 20, seed)]

    assert cells(3) == cells(3) != cells(4)
    assert [t.cell for t in random_search(TINY, share, 20, 3)] == list(random_cells(TINY, 20, 3))
    assert list(random_cells(TINY, 20, 3)) != list(random_cells(TINY, 20, 4))
    assert list(random_cells(TINY, 5, 3)) == list(random_cells(TINY, 20, 3))[:5], "a longer search begins alike"


def test_global_random_numbers_change_nothing():
    """The trainings in between use them up as they like."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append([t.cell for search in (controller_search, random_search) for t in search(TINY, share, 5, 0)])
    assert found[0] == found[1]


def test_the_baseline_is_a_moving_average():
    rewards = iter([1.0, 0.0, 0.5, 0.25])
    trials = list(controller_search(TINY, lambda cell: next(rewards), 4, 0, Learning(baseline=0.5)))
    assert [t.baseline for t in trials] == [1.0, 1.0, 0.5, 0.5]
    assert [t.reward for t in trials] == [1.0, 0.0, 0.5, 0.25]
    assert best_of(trials).step == 1
    assert [t.step for t in trials] == [1, 2, 3, 4]

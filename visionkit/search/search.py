"""The two searches as generators of trials: a controller that learns from the rewards, and chance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from visionkit.ops.hashing import mix
from visionkit.search.cell_space import Cell, CellSpace
from visionkit.search.controller import Controller

Reward = Callable[[Cell], float]

_CONTROLLER, _RANDOM, _SAMPLE = 1, 2, 3  # streams of random numbers


@dataclass(frozen=True)
class Trial:
    """One sampled cell and what came of it."""

    step: int  # from 1
    cell: Cell
    reward: float
    baseline: float | None = None  # what the controller expected
    entropy: float | None = None  # nats; how undecided the controller was, ln(size of the space) at most


@dataclass(frozen=True)
class Learning:
    """How the controller learns.

    Attributes:
        lr: of Adam.
        entropy: weight of the entropy in what is maximised, against early certainty (Mnih et al. 2016, sec. 4).
        baseline: share of the old baseline that is kept at each step.
        hidden: units of the LSTM.
    """

    lr: float = 0.01
    entropy: float = 0.001
    baseline: float = 0.9
    hidden: int = 64


def controller_search(
    space: CellSpace, reward: Reward, samples: int, seed: int, learning: Learning | None = None
) -> Iterator[Trial]:
    """Samples a cell, rewards it, moves the policy: REINFORCE (Williams 1992) with a moving average of the rewards as
    the baseline (Zoph and Le 2017, sec. 3.2). What is drawn follows from (seed, step) and the rewards so far."""
    learning = learning or Learning()
    controller = Controller(space.options, learning.hidden, mix(seed, _CONTROLLER))
    optimizer = torch.optim.Adam(controller.parameters(), lr=learning.lr)
    baseline: float | None = None
    for step in range(samples):
        choices = controller.sample(_generator(seed, _SAMPLE, step))
        cell = space.decode(choices)
        value = reward(cell)
        baseline = value if baseline is None else baseline  # the first reward is no surprise
        log_probability, entropy = controller(torch.tensor([choices]))
        gain = (value - baseline) * log_probability + learning.entropy * entropy  # (1,)
        optimizer.zero_grad()
        (-gain.sum()).backward()
        optimizer.step()
        yield Trial(step + 1, cell, value, baseline, float(entropy.detach()))
        baseline = learning.baseline * baseline + (1 - learning.baseline) * value


def random_search(space: CellSpace, reward: Reward, samples: int, seed: int) -> Iterator[Trial]:
    """Uniform draws, by (seed, step)."""
    for step, cell in enumerate(random_cells(space, samples, seed)):
        yield Trial(step + 1, cell, reward(cell))


def random_cells(space: CellSpace, count: int, seed: int) -> Iterator[Cell]:
    """`count` uniform draws, by (seed, position)."""
    return (space.decode(space.draw(_generator(seed, _RANDOM, i))) for i in range(count))


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest reward, the first of equals."""
    return max(trials, key=lambda trial: (trial.reward, -trial.step))


def _generator(*seeds: int) -> torch.Generator:
    return torch.Generator().manual_seed(mix(*seeds))

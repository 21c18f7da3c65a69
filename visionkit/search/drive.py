"""From settings to trials and accuracies: which cells are trained, how long, with which seed; and what is printed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from visionkit.ops.hashing import mix
from visionkit.search.cell_space import Cell, CellSpace
from visionkit.search.journal import Journal
from visionkit.search.report import FOUND, UNIFORM
from visionkit.search.search import Learning, Trial, best_of, controller_search, random_cells, random_search
from visionkit.search.settings import SearchSettings
from visionkit.search.trainer import CellTrainer, Pictures, Split

_FINAL, _UNIFORM = 10, 11  # seeds of the comparison are those of no search


@dataclass
class Drive:
    """Runs the searches of all seeds and methods, and the comparison, printing a line for each network."""

    settings: SearchSettings
    space: CellSpace
    trainer: CellTrainer
    split: Split
    journal: Journal
    say: Callable[[str], None] = partial(print, flush=True)

    def __post_init__(self) -> None:
        self._planned = self.settings.steps  # training steps still to come, if nothing is remembered
        self._taken, self._seconds = 0, 0.0  # training steps of this process, and the time that they took

    def searches(self) -> dict[str, list[list[Trial]]]:
        """Method -> the trials of each seed."""
        s = self.settings
        found: dict[str, list[list[Trial]]] = {method: [] for method in s.methods}
        for seed in s.seeds:
            for method in s.methods:
                trials: list[Trial] = []
                for trial in self._search(method, seed):
                    self.journal.write_trial(method, seed, trial)
                    trials.append(trial)
                    doubt = "" if trial.entropy is None else f"  entropy {trial.entropy:.1f}"
                    self._tell(
                        s.train_steps,
                        f"{method} {seed}: {trial.step}/{s.samples}  reward {trial.reward:.3f}  "
                        f"best {best_of(trials).reward:.3f}{doubt}",
                    )
                found[method].append(trials)
        return found

    def comparison(
        self, trials: dict[str, list[list[Trial]]]
    ) -> tuple[dict[str, list[list[float]]], dict[str, list[int]]]:
        """Group of cells -> each seed's accuracies on pictures that no search saw; and the networks' parameters."""
        s = self.settings
        accuracies: dict[str, list[list[float]]] = {}
        parameters: dict[str, list[int]] = {}
        for i, seed in enumerate(s.seeds):
            groups = {FOUND[method]: [best_of(runs[i]).cell] for method, runs in trials.items()}
            groups[UNIFORM] = list(random_cells(self.space, s.random_cells, mix(seed, _UNIFORM)))
            for group, cells in groups.items():
                for cell in cells:
                    train = partial(self._train, cell, s.final_steps, mix(seed, _FINAL), self.split.test)
                    accuracy = self.journal.accuracy(seed, cell, train)
                    self.journal.write_final(group, seed, cell, accuracy)
                    parameters.setdefault(group, []).append(
                        sum(p.numel() for p in self.trainer.model(cell).parameters())
                    )
                    accuracies.setdefault(group, [[] for _ in s.seeds])[i].append(accuracy)
                    self._tell(s.final_steps, f"{group}, seed {seed}: accuracy {accuracy:.3f}")
        return accuracies, parameters

    def _search(self, method: str, seed: int) -> Iterator[Trial]:
        s = self.settings

        def reward(cell: Cell) -> float:
            return self.journal.reward(
                seed, cell, partial(self._train, cell, s.train_steps, mix(seed), self.split.reward)
            )

        if method == "random":
            return random_search(self.space, reward, s.samples, seed)
        learning = Learning(s.controller_lr, s.entropy, s.baseline, s.hidden)
        return controller_search(self.space, reward, s.samples, seed, learning)

    def _train(self, cell: Cell, steps: int, seed: int, measured: Pictures) -> float:
        since = time.monotonic()
        accuracy = self.trainer.accuracy(cell, steps, seed, measured)
        self._seconds += time.monotonic() - since
        self._taken += steps
        return accuracy

    def _tell(self, steps: int, line: str) -> None:
        """The line, with the speed so far and the time that the rest takes at most."""
        self._planned -= steps
        if self._taken:
            rate = self._taken / self._seconds
            minutes, seconds = divmod(round(self._planned / rate), 60)
            line += f"  {rate:.1f} steps/s  left {minutes}:{seconds:02d}"
        self.say(line)

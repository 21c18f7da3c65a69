"""The loop with a trainer that trains nothing: what is trained, remembered, written, compared."""

import json
from types import SimpleNamespace

import pytest
import torch

from visionkit.errors import ConfigError
from visionkit.search.cell_space import CellSpace
from visionkit.search.drive import Drive
from visionkit.search.journal import Journal
from visionkit.search.report import FOUND, UNIFORM, comparison_table, found_yaml, reward_table, verdicts
from visionkit.search.search import Trial
from visionkit.search.settings import checked_search

CONFIG = {
    **{"method": "both", "samples": 6, "seed": 0, "seeds": [0, 1], "nodes": 1, "operations": ["identity", "sep3"]},
    **{"width": 2, "cells": 1, "size": 8, "pictures": 4, "batch_size": 2, "lr": 0.1, "train_steps": 5},
    **{"controller_lr": 0.01, "entropy": 0.001, "baseline": 0.9, "hidden": 8, "final_steps": 7, "random_cells": 2},
    "threads": 1,
}
SPLIT = SimpleNamespace(train="train", reward="reward", test="test")


class Fake:
    """Instead of a `CellTrainer`: the accuracy counts separable convolutions."""

    def __init__(self):
        self.calls = []

    def accuracy(self, cell, steps, seed, measured):
        self.calls.append((json.dumps(cell), steps, seed, measured))
        return sum(item == "sep3" for node in cell for item in node) / 2

    def model(self, cell):
        return torch.nn.Linear(1, 1)


def drive(path, **changed):
    settings, fake, said = checked_search({**CONFIG, **changed}), Fake(), []
    space = CellSpace(settings.nodes, settings.operations)
    return Drive(settings, space, fake, SPLIT, Journal(path), said.append), fake, said


def test_no_cell_is_trained_twice_and_all_is_written(tmp_path):
    run, fake, said = drive(tmp_path / "search.jsonl", samples=40)  # of 16 cells there are
    trials = run.searches()
    assert [len(t) for runs in trials.values() for t in runs] == [40] * 4
    assert len(fake.calls) == len(set(fake.calls)) <= 2 * 16
    assert {call[1:] for call in fake.calls if call[3] != "reward"} == set()
    lines = [json.loads(line) for line in (tmp_path / "search.jsonl").read_text().splitlines()]
    assert len(lines) == len(said) == 160
    assert [(line["method"], line["seed"], line["step"]) for line in lines[:1] + lines[-1:]] == [
        ("controller", 0, 1),
        ("random", 1, 40),
    ]
    assert "40/40" in said[39] and "best 1.000" in said[39] and "left" in said[39] and "steps/s" in said[39]
    for line, trial in zip(lines, trials["controller"][0], strict=False):
        assert (line["cell"], line["reward"], line["entropy"]) == (trial.cell, trial.reward, trial.entropy)


def test_the_comparison_uses_other_pictures_and_another_seed(tmp_path):
    run, fake, said = drive(tmp_path / "search.jsonl")
    trials = run.searches()
    searched = len(fake.calls)
    accuracies, parameters = run.comparison(trials)
    assert list(accuracies) == [FOUND["controller"], FOUND["random"], UNIFORM] == list(parameters)
    assert [len(seed) for seed in accuracies[UNIFORM]] == [2, 2]
    assert {(steps, measured) for _, steps, _, measured in fake.calls[searched:]} == {(7, "test")}
    seeds = [{call[2] for call in part} for part in (fake.calls[:searched], fake.calls[searched:])]
    assert len(seeds[0]) == len(seeds[1]) == 2 and not seeds[0] & seeds[1]
    assert said[-1].endswith("left 0:00")


def test_a_search_goes_on_where_it_stopped(tmp_path):
    whole, _, _ = drive(tmp_path / "whole.jsonl")
    expected = whole.searches()
    whole.comparison(expected)
    text = (tmp_path / "whole.jsonl").read_text()
    lines = text.splitlines(keepends=True)
    for kept in (3, len(lines) - 2):
        path = tmp_path / f"{kept}.jsonl"
        path.write_text("".join(lines[:kept]) + lines[kept][:20])  # killed while it wrote
        again, fake, _ = drive(path)
        found = again.searches()
        again.comparison(found)
        assert found == expected
        assert path.read_text() == text
        assert again.journal.trained == len(fake.calls) < whole.journal.trained


def test_a_longer_search_begins_with_the_shorter_one(tmp_path):
    drive(tmp_path / "search.jsonl")[0].searches()
    longer, fake, _ = drive(tmp_path / "search.jsonl", samples=9)
    trials = longer.searches()
    assert [len(run) for runs in trials.values() for run in runs] == [9] * 4
    fresh, _, _ = drive(tmp_path / "fresh.jsonl", samples=9)
    assert fresh.searches() == trials


def test_another_search_in_the_same_file_is_refused(tmp_path):
    drive(tmp_path / "search.jsonl", samples=20)[0].searches()
    other, _, _ = drive(tmp_path / "search.jsonl", controller_lr=0.9, samples=20)
    with pytest.raises(ConfigError, match="choose another output"):
        other.searches()


def trial(step, reward):
    return Trial(step, [["sep3", 1, "sep3", 0]], reward)


def test_the_reward_table_by_hand():
    runs = {"controller": [[trial(1, 0.1), trial(2, 0.3)], [trial(1, 0.5), trial(2, 0.4)]]}
    assert reward_table(runs, parts=2).splitlines()[2:] == ["| 1 to 1 | 0.300 | 0.300 |", "| 2 to 2 | 0.350 | 0.400 |"]


def test_the_comparison_by_hand():
    accuracies = {"a": [[0.5], [0.7]], "b": [[0.4], [0.7]], "c": [[0.5, 0.9], [0.8, 0.8]]}
    table = comparison_table(accuracies, {"a": [1000, 2000], "b": [5], "c": [7]})
    assert "| a | 0.600 | 0.141 | 0.500 0.700 | 2 | 1,500 |" in table
    assert "| c | 0.750 | 0.071 | 0.700 0.800 | 4 | 7 |" in table
    assert verdicts(accuracies) == [
        "a minus b: +0.050 over 2 seeds (standard error 0.050, above 0 with 1 of them): higher, within the noise.",
        "a minus c: -0.150 over 2 seeds (standard error 0.050, above 0 with 0 of them): not higher.",
    ]
    alone = verdicts({"a": [[0.5]], "b": [[0.5]]})
    assert alone == ["a minus b: +0.000 with one seed, which tells little: not higher."]


def test_the_found_cell_as_yaml():
    import yaml

    cell = [["sep3", 1, "identity", 0], ["max3", 2, "avg3", 1]]
    text = found_yaml(cell, 8, 1, "Found.")
    assert text.startswith("# Found.\n")
    assert yaml.safe_load(text) == {
        "_target_": "visionkit.backbones.cell_network.cell_network",
        **{"cell": cell, "weights": None, "norm": "batch", "width": 8, "cells": 1},
    }


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "evolution"}, "method=evolution.*controller, random, both"),
        ({"samples": 0}, "samples=0.*at least 1"),
        ({"samples": 2.5}, "samples=2.5.*whole"),
        ({"nodes": None}, "nodes=None"),
        ({"lr": 0}, "lr=0.*above 0"),
        ({"baseline": 1.5}, "baseline=1.5.*from 0 to 1"),
        ({"entropy": -1}, "entropy=-1"),
        ({"seeds": [0, 0]}, "twice"),
        ({"seeds": 3}, "seeds=3.*list"),
        ({"seeds": [-1]}, "at least 0"),
        ({"operations": "sep3"}, "operations=sep3.*list"),
    ],
)
def test_wrong_settings_are_one_sentence(wrong, words):
    with pytest.raises(ConfigError, match=words):
        checked_search({**CONFIG, **wrong})


def test_numbers_written_as_floats():
    assert checked_search({**CONFIG, "train_steps": 1e2}).train_steps == 100

"""The running average of the weights, and stopping early: both go on exactly after an interruption."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toy import Toy, phase, result_of, run, same, stop_at
from torch import nn

from visionkit.engine import checkpoint
from visionkit.engine.average import Average
from visionkit.engine.interrupt import Interrupted
from visionkit.engine.phases import FitPhase


def test_it_is_the_average_of_the_formula() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    average = Average(model, 0.6)
    expected = model[0].weight.detach().clone().double()
    for step in range(1, 9):
        with torch.no_grad():
            model[0].weight.add_(step)
            model[1].num_batches_tracked.add_(1)
        average.update()
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach().double()
    torch.testing.assert_close(average.weights["0.weight"].double(), expected, rtol=1e-6, atol=1e-6)
    assert int(average.weights["1.num_batches_tracked"]) == 8

    own = {key: value.clone() for key, value in model.state_dict().items()}
    with average.applied():
        assert same(dict(model.state_dict()), average.weights)
    assert same(dict(model.state_dict()), own)


def _sum(model: nn.Module, step: int) -> dict[str, float | None]:
    return {"AP": float(sum(p.double().sum() for p in model.parameters()))}


def test_evaluations_and_the_result_are_the_average(tmp_path: Path) -> None:
    result = run(tmp_path, ema=0.9, evaluate=_sum)
    state = checkpoint.load(tmp_path / "checkpoints" / "last.pt")
    weights = checkpoint.weights_of(state)
    assert weights is state["average"]["weights"] and not torch.equal(
        weights["head.weight"], state["model"]["head.weight"]
    )
    names = [name for name, _ in Toy().named_parameters()]
    assert result.last["AP"] == float(sum(weights[name].double().sum() for name in names))
    plain = run(tmp_path / "plain", evaluate=_sum)  # the average changes nothing of the training itself
    trained = checkpoint.load(tmp_path / "plain" / "checkpoints" / "last.pt")
    assert same(trained["model"], state["model"]) and checkpoint.weights_of(trained) is trained["model"]
    assert plain.last["AP"] != result.last["AP"]


def test_a_fit_is_not_averaged_away(tmp_path: Path) -> None:
    def fit(model: Any) -> None:
        with torch.no_grad():
            model.head.bias.fill_(7.0)

    run(tmp_path, [phase(steps=3), FitPhase("fit", fit)], ema=0.99)
    state = checkpoint.load(tmp_path / "checkpoints" / "last.pt")
    assert checkpoint.weights_of(state)["head.bias"].eq(7.0).all()


def test_a_fit_looks_at_the_average(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def fit(model: Any) -> None:
        seen.append({key: value.clone() for key, value in model.state_dict().items()})

    run(tmp_path / "alone", [phase(steps=3)], ema=0.9)
    averaged = checkpoint.weights_of(checkpoint.load(tmp_path / "alone" / "checkpoints" / "last.pt"))
    run(tmp_path / "fitted", [phase(steps=3), FitPhase("fit", fit)], ema=0.9)
    assert same(seen[0], averaged)
    last = checkpoint.load(tmp_path / "fitted" / "checkpoints" / "last.pt")
    assert same(checkpoint.weights_of(last), averaged), "and the run's result is what was fitted"


def test_a_stage_on_the_way_is_never_the_result(tmp_path: Path) -> None:
    phases = [phase(steps=4, evaluate=False), FitPhase("fit", lambda model: None, evaluate=False), phase("last", 2)]
    result = run(tmp_path, phases, evaluate_steps=1)
    assert result.best["step"] > 4
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines if line["split"] == "val"} == {"last"}


@pytest.mark.parametrize("settings", [{"ema": 0.8, "evaluate_steps": 3}, {"patience": 1, "evaluate_steps": 2}])
def test_interrupted_at_every_step(tmp_path: Path, settings: dict[str, Any]) -> None:
    phases = [phase(), phase("more", 4)]
    whole = run(tmp_path / "whole", phases, **settings)
    for step in range(4):
        folder = tmp_path / str(step)
        for _ in range(3):
            try:
                result = run(folder, phases, resume="auto", on_batch=stop_at(step), **settings)
                break
            except Interrupted:
                continue
        assert result == whole
        assert same(result_of(folder), result_of(tmp_path / "whole")), step


def test_patience_ends_the_phase_and_not_the_run(tmp_path: Path) -> None:
    values = iter([0.5, 0.4, 0.45, 0.1, 0.2, 0.3])
    phases = [phase("first", 12), phase("second", 2)]
    result = run(tmp_path, phases, patience=2, evaluate_steps=2, evaluate=lambda model, step: {"AP": next(values)})
    assert result.best["step"] == 2 and result.step == 8  # 6 steps of the first phase, then the whole second
    lines = (tmp_path / "metrics.jsonl").read_text()
    assert '"phase": "second"' in lines

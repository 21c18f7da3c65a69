import math
from pathlib import Path

import pytest
import torch

from visionkit.engine import schedule
from visionkit.engine.schedule import Constant, Cosine, MultiStep, Plateau, Warmup
from visionkit.errors import ConfigError


def test_constant() -> None:
    assert [Constant()(step, 10) for step in (0, 5, 9)] == [1.0, 1.0, 1.0]


def test_milestones_as_fractions_and_as_steps() -> None:
    plan = MultiStep((0.5, 80), gamma=0.1)
    assert [plan(step, 100) for step in (0, 49)] == [1.0, 1.0]
    assert [plan(step, 100) for step in (50, 79)] == pytest.approx([0.1, 0.1])
    assert [plan(step, 100) for step in (80, 99)] == pytest.approx([0.01, 0.01])
    assert MultiStep(())(3, 10) == 1.0


def test_cosine_in_closed_form() -> None:
    assert Cosine()(0, 100) == 1.0
    assert Cosine()(50, 100) == pytest.approx(0.5)
    assert Cosine()(25, 100) == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert Cosine()(100, 100) == pytest.approx(0.0)
    assert Cosine(final=0.2)(100, 100) == pytest.approx(0.2)
    assert Cosine(final=0.2)(50, 100) == pytest.approx(0.6)


def test_warmup_times_the_schedule_after_it() -> None:
    plan = schedule.multistep(milestones=[5], warmup=10, warmup_start=0.1)
    assert plan(0, 100) == pytest.approx(0.1)
    assert plan(4, 100) == pytest.approx(0.1 + 0.9 * 0.4)
    assert plan(6, 100) == pytest.approx(0.1 * (0.1 + 0.9 * 0.6))
    assert plan(10, 100) == pytest.approx(0.1)
    assert schedule.constant(warmup=0.2, warmup_start=0.0)(10, 100) == pytest.approx(0.5)
    assert schedule.constant()(0, 100) == 1.0


@pytest.mark.parametrize("total", [1, 40])
def test_equals_torch(total: int) -> None:
    """LinearLR times MultiStepLR, and CosineAnnealingLR, of torch."""
    ours = [schedule.multistep(milestones=[20, 30], warmup=8, warmup_start=0.001), schedule.cosine(final=0.0)]
    optimizers = [torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0) for _ in ours]
    linear = torch.optim.lr_scheduler.LinearLR(optimizers[0], start_factor=0.001, total_iters=8)
    multi = torch.optim.lr_scheduler.MultiStepLR(optimizers[0], [20, 30], gamma=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizers[1], T_max=total)
    for step in range(total):
        for plan, optimizer in zip(ours, optimizers, strict=True):
            assert plan(step, total) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
            optimizer.step()
        for theirs in (linear, multi, cosine):
            theirs.step()


def test_plateau_waits_and_falls() -> None:
    plan = Plateau(factor=0.1, patience=1, threshold=0.01)
    factors = []
    for value in [0.3, 0.4, 0.405, None, 0.40, 0.39, 0.5, 0.5, 0.5]:
        plan.observe(value)
        factors.append(plan(0, 10))
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01])


def test_plateau_remembers_through_the_warmup() -> None:
    one, other = schedule.plateau(patience=0, warmup=2), schedule.plateau(patience=0, warmup=2)
    for value in (0.5, 0.4):
        one.observe(value)
    other.load_state_dict(one.state_dict())
    assert other(5, 10) == one(5, 10) == pytest.approx(0.1)
    other.observe(0.5)
    assert other(5, 10) == pytest.approx(0.01)
    assert schedule.cosine().state_dict() == {}


def test_impossible_values() -> None:
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="neither a fraction"):
            Warmup(Constant(), value)(0, 10)


CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "schedule").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_build(path: Path) -> None:
    hydra, omegaconf = pytest.importorskip("hydra.utils"), pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.load(path)
    assert {"_target_", "_partial_", "warmup", "warmup_start"} <= set(config)
    one, other = (hydra.instantiate(config)() for _ in range(2))
    assert one is not other and 0.0 < one(60, 100) <= 1.0


def test_there_are_six() -> None:
    assert [path.stem for path in CONFIGS] == ["constant", "cosine", "multistep", "plateau", "poly", "step_decay"]

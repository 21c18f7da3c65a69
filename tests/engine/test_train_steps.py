from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toy import OPTIMIZERS, Toy, ToyLoader, phase, run, same, toy_batch

from visionkit.engine import checkpoint
from visionkit.engine.optim import parameter_groups
from visionkit.engine.precision import Precision
from visionkit.engine.schedule import Constant, Cosine, Schedule
from visionkit.engine.train import Step, train_steps
from visionkit.errors import ConfigError, DataError, NonFiniteLossError

CPU = torch.device("cpu")


def steps_of(model: Toy, batches: Any, *, stop: int = 4, plan: Schedule | None = None, **options: Any) -> list[Step]:
    optimizer = OPTIMIZERS["sgd"](parameter_groups(model, 0.1, 0.0))
    defaults: dict[str, Any] = {"start": 0, "seed": 1, "device": CPU, "precision": Precision("fp32", CPU)}
    steps = train_steps(model, batches, optimizer, plan or Constant(), stop=stop, **(defaults | options))
    return [replace(step, norm=partial(torch.clone, step.grad_norm)) for step in steps]  # asked in time


def toy(**options: Any) -> Toy:
    torch.manual_seed(0)
    return Toy(**options)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_record_says_what_the_step_did() -> None:
    model = toy()
    records = steps_of(model, ToyLoader(3).batches(0), plan=Cosine())
    assert [r.step for r in records] == [1, 2, 3, 4]
    for index, record in enumerate(records):
        assert list(record.losses) == ["square", "size"]
        assert float(record.loss) == pytest.approx(float(record.losses["square"] + record.losses["size"]))
        assert not record.loss.requires_grad and not any(v.requires_grad for v in record.losses.values())
        assert record.images == 3 and float(record.grad_norm) > 0
        assert set(record.lr) == {"weights", "norms", "biases"}
        assert record.lr["weights"] == pytest.approx(0.1 * Cosine()(index, 4))


def test_it_learns() -> None:
    records = steps_of(toy(dropout=0.0), ToyLoader(12).batches(0), stop=40)
    assert float(records[-1].loss) < 0.5 * float(records[0].loss)


def test_equals_the_loop_written_out() -> None:
    """Plain torch, without dropout: the generator adds nothing to the arithmetic."""
    model, plain = toy(dropout=0.0), toy(dropout=0.0)
    steps_of(model, ToyLoader(3).batches(0))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    batches = ToyLoader(3).batches(0)
    for _ in range(4):
        optimizer.zero_grad()
        sum(plain(*next(batches)).values()).backward()
        optimizer.step()
    assert same(model.state_dict(), plain.state_dict())


def test_dropout_follows_from_step_and_image_alone() -> None:
    first, second, other_step, other_seed = (toy(dropout=0.5) for _ in range(4))
    batch = ToyLoader(12).batches
    steps_of(first, batch(0), stop=1)
    torch.rand(17)  # the generator's state is of no account
    steps_of(second, batch(0), stop=1)
    steps_of(other_step, batch(0), start=1, stop=2)
    steps_of(other_seed, batch(0), stop=1, seed=2)
    assert same(first.state_dict(), second.state_dict())
    assert not same(first.state_dict(), other_step.state_dict())
    assert not same(first.state_dict(), other_seed.state_dict())


def test_accumulated_batches_equal_one_large_batch() -> None:
    """With as many valid boxes in each part, the mean of the parts' losses is the loss of the whole."""
    parts = [[1, 4], [7, 10], [2, 3], [5, 6]]  # image k has k % 3 boxes
    small, large = toy(dropout=0.0, norm=False), toy(dropout=0.0, norm=False)
    accumulated = steps_of(small, (toy_batch(ids) for ids in parts), stop=2, accumulate=2)
    at_once = steps_of(large, (toy_batch(parts[i] + parts[i + 1]) for i in (0, 2)), stop=2)
    for a, b in zip(accumulated, at_once, strict=True):
        assert a.images == b.images == 4
        torch.testing.assert_close(a.losses, b.losses)
        torch.testing.assert_close(a.grad_norm, b.grad_norm)
    torch.testing.assert_close(small.state_dict(), large.state_dict())


def test_clipping_bounds_the_step_and_reports_the_norm_before() -> None:
    free, clipped = toy(dropout=0.0), toy(dropout=0.0)
    start = weights(free)
    (wild,) = steps_of(free, ToyLoader(3).batches(0), stop=1)
    (tame,) = steps_of(clipped, ToyLoader(3).batches(0), stop=1, clip_norm=0.01)
    assert torch.equal(wild.grad_norm, tame.grad_norm) and float(wild.grad_norm) > 0.01

    def moved(model: Toy) -> float:
        return float(sum(((p.detach() - start[n]) ** 2).sum() for n, p in model.named_parameters()).sqrt())

    assert moved(clipped) == pytest.approx(0.1 * 0.01, rel=1e-3)
    assert moved(free) == pytest.approx(0.1 * float(wild.grad_norm), rel=1e-3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_non_finite_losses_stop_before_the_weights_move(accumulate: int) -> None:
    model = toy(norm=False)
    batches = [toy_batch([1, 2]) for _ in range(2 * accumulate)]
    batch, targets = toy_batch([7, 11])
    boxes = targets.boxes.clone()
    boxes[1, 0, 2] = float("nan")
    batches[2 * accumulate - 1] = (batch, replace(targets, boxes=boxes))
    seen: list[dict[str, torch.Tensor]] = []
    optimizer = OPTIMIZERS["sgd"](parameter_groups(model, 0.1, 0.0))
    steps = train_steps(
        model, iter(batches), optimizer, Constant(), start=0, stop=5, seed=0, device=CPU,
        precision=Precision("fp32", CPU), accumulate=accumulate,
    )  # fmt: skip
    with pytest.raises(NonFiniteLossError) as caught:
        for _ in steps:
            seen.append(weights(model))
    assert len(seen) == 1 and same(seen[0], weights(model))
    message = str(caught.value)
    assert "step 2" in message and "square=nan" in message and "[7, 11]" in message and caught.value.exit_code == 4


def test_a_run_that_diverged_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        run(tmp_path, [phase(lr=1e30)], evaluate_steps=1)
    state = checkpoint.load(tmp_path / "checkpoints" / "last.pt")
    assert all(value.isfinite().all() for value in state["model"].values())


def test_an_infinite_gradient_of_a_finite_loss_is_never_saved(tmp_path: Path) -> None:
    class Root(Toy):
        def forward(self, batch: Any, targets: Any) -> dict[str, torch.Tensor]:
            return {"root": (self.head.weight.sum() * 0.0).sqrt()}  # 0, with an undefined derivative

    with pytest.raises(NonFiniteLossError, match="gradient of step 1 is not finite"):
        run(tmp_path, model=Root, checkpoint_steps=1)
    state = checkpoint.load(tmp_path / "checkpoints" / "last.pt")
    assert state["cursor"]["step"] == 0 and state["model"]["head.weight"].isfinite().all()


def test_batches_without_any_object() -> None:
    (record,) = steps_of(toy(), iter([toy_batch([0, 3, 6])]), stop=1)
    assert float(record.loss) == 0.0 == float(record.grad_norm)


def test_only_the_wanted_losses_count() -> None:
    (record,) = steps_of(toy(), ToyLoader(3).batches(0), stop=1, losses=["size"])
    assert list(record.losses) == ["size"] and torch.equal(record.loss, record.losses["size"])
    with pytest.raises(ConfigError, match="wants the loss 'shape'; the model gives square, size"):
        steps_of(toy(), ToyLoader(3).batches(0), stop=1, losses=["shape"])


def test_data_that_end_early_are_named() -> None:
    with pytest.raises(DataError, match="ended before step 2"):
        steps_of(toy(), iter([toy_batch([1])]), stop=3)


@pytest.mark.parametrize("name", ["bf16", "fp32"])
def test_channels_last_is_a_layout_only(name: str) -> None:
    flat, last = toy(dropout=0.0), toy(dropout=0.0).to(memory_format=torch.channels_last)
    seen: list[bool] = []
    last.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].pixels.is_contiguous(memory_format=torch.channels_last))
    )
    precision = Precision(name, CPU)
    a = steps_of(flat, ToyLoader(3).batches(0), stop=2, precision=precision)
    b = steps_of(last, ToyLoader(3).batches(0), stop=2, precision=precision, channels_last=True)
    assert seen == [True, True]
    for one, other in zip(a, b, strict=True):
        assert one.loss.dtype == torch.float32
        torch.testing.assert_close(one.losses, other.losses, rtol=1e-2 if name == "bf16" else 1e-5, atol=1e-4)

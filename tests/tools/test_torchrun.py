"""Two processes under torchrun do what one does with the doubled batch, fail with one sentence, and can be stopped."""

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.tools.train_process import CLONE, TrainProcess, differing, processes_under, result_of, train
from visionkit.data.coco import read_coco
from visionkit.data.dataset import DetectionDataset
from visionkit.data.loaders import TrainLoader
from visionkit.data.scene_settings import settings_from
from visionkit.data.scenes import generate
from visionkit.engine import checkpoint

STEPS = 7


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny generated data set, 14 of its 24 training images without objects."""
    values = yaml.safe_load((CLONE / "configs" / "data" / "scenes_tiny.yaml").read_text())
    for key in ("_target_", "root", "format"):
        values.pop(key)
    settings = settings_from({key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    root = generate(tmp_path_factory.mktemp("scenes"), settings) / "coco"
    file = root / "annotations" / "instances_train.json"
    truth = json.loads(file.read_text())
    empty = {image["id"] for image in truth["images"][:14]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] not in empty]
    file.write_text(json.dumps(truth))
    return root


def on(tree: Path, output: Path, *more: str) -> tuple[str, ...]:
    splits = [
        f"data.{split}.{key}={value}"
        for split in ("train", "val")
        for key, value in (("annotations", f"annotations/instances_{split}.json"), ("images", split))
    ]
    return ("data=coco", f"data.root={tree}", *splits, f"output={output}", f"trainer.max_steps={STEPS}", *more)


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").open()]


def test_some_step_gives_one_process_no_objects(tree: Path) -> None:
    """What the tests below stand on."""
    index = read_coco(str(tree / "annotations" / "instances_train.json"), str(tree / "train"))
    dataset = DetectionDataset(index, None, None, seed=0)
    shares = [TrainLoader(dataset, 2, seed=0, rank=rank, world=2).batches() for rank in range(2)]
    counts = [[int(next(share)[1].valid.sum()) for share in shares] for _ in range(STEPS)]
    assert any(first == 0 and second > 0 for first, second in counts), counts
    assert any(first > 0 and second == 0 for first, second in counts), counts


@pytest.mark.parametrize(
    ("norm", "workers"),
    [("group", 0), pytest.param("frozen", 2, marks=pytest.mark.slow), pytest.param("group", 2, marks=pytest.mark.slow)],
)
def test_two_processes_equal_one_with_the_doubled_batch(tree: Path, tmp_path: Path, norm: str, workers: int) -> None:
    """Batch norm in training mode would differ: each process normalises by its own images.

    SGD, since AdamW makes rounding errors of small gradients as large as a step.
    """
    one, two = tmp_path / "one", tmp_path / "two"
    same = (f"backbone.norm={norm}", f"trainer.workers={workers}", "optim=sgd", "optim.lr=0.01", "schedule.warmup=2")
    alone = train(tmp_path / "printed one", *on(tree, one, "trainer.batch_size=4", *same))
    both = train(tmp_path / "printed two", *on(tree, two, "trainer.batch_size=2", *same), processes=2)

    worst = 0.0
    for a, b in zip(lines(one), lines(two), strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            if isinstance(value, float):
                assert b[name] == pytest.approx(value, rel=1e-5, abs=1e-9), (a["step"], name)
                if name.startswith(("loss", "val_loss")):
                    worst = max(worst, abs(b[name] - value) / value)
            else:
                assert b[name] == value, (a["step"], name)
    assert [line["step"] for line in lines(one)] == [1, 2, 3, 4, 5, 6, 6, 7, 7]
    weights = [checkpoint.load(output / "checkpoints" / "last.pt")["model"] for output in (one, two)]
    moved = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    print(f"norm {norm}, {workers} workers: losses differ by {worst:.1e} at most, weights by {moved:.1e}")
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)

    measured = [json.loads((output / "eval" / "metrics.json").read_text()) for output in (one, two)]
    assert measured[1].pop("val_loss") == pytest.approx(measured[0].pop("val_loss"), rel=1e-6)
    assert measured[0] == measured[1]

    assert len(list(two.glob("events.*"))) == 1 and (two / "command.txt").read_text().count("\n") == 1
    without_rates = [re.sub(r"[\d.]+ images/s.*", "", p.printed()).replace(str(two), str(one)) for p in (alone, both)]
    assert len(without_rates[0].splitlines()) == len(without_rates[1].splitlines())  # one process talks
    assert without_rates[1].count("step 1/7 ") == 1 and "Warning" not in both.errors()


def test_a_mistake_under_torchrun_is_told_in_its_sentence(tmp_path: Path) -> None:
    mistyped = train(tmp_path, "trainer.batchsize=3", processes=2, code=1)  # 1 is torchrun's own
    assert "error: unknown key trainer.batchsize; did you mean trainer.batch_size?\n" in mistyped.errors()
    settings = ("data=coco", f"data.root={tmp_path / 'nowhere'}", f"output={tmp_path / 'run'}")
    missing = train(tmp_path, *settings, processes=2, code=1)
    assert f"error: data root '{tmp_path / 'nowhere'}' does not exist; tried " in missing.errors()
    assert re.search(r"exitcode  : 3 ", missing.errors())
    for process in (mistyped, missing):
        assert "bug in VisionKit" not in process.errors() and "terminate called" not in process.errors()
        assert process.printed() == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_image_that_only_one_process_reads_is_broken(tree: Path, tmp_path: Path) -> None:
    """The process at fault says so; the other one, which waits for it, does not report a bug."""
    images = sorted((tree / "train").iterdir())
    whole = {image: image.read_bytes() for image in images}
    index = read_coco(str(tree / "annotations" / "instances_train.json"), str(tree / "train"))
    second = TrainLoader(DetectionDataset(index, None, None, seed=0), 2, seed=0, rank=1, world=2)
    ids = [next(batches)[0].ids.tolist() for batches in [second.batches()] for _ in range(3)][-1]
    broken = next(Path(index.path(i)) for i in range(len(index)) if index.image_id(i) == ids[0])
    broken.write_bytes(whole[broken][:200])
    try:
        process = train(tmp_path, *on(tree, tmp_path / "run", "trainer.batch_size=2"), processes=2, code=1)
    finally:
        broken.write_bytes(whole[broken])
    assert re.search(rf"^error: .*{broken.name}", process.errors(), re.MULTILINE), process.errors()
    assert "bug in VisionKit" not in process.errors() and process.step() == 2
    assert "error: another process of this run has ended; its own message says why.\n" in process.errors()


@pytest.mark.slow
def test_evaluation_gathered_over_processes_is_that_of_one(tree: Path, tmp_path: Path) -> None:
    """A finished run, started again with two processes, only evaluates: each process half of the images."""
    output = tmp_path / "run"
    train(tmp_path, *on(tree, output))
    alone = result_of(output)
    for file in (output / "eval").iterdir():
        file.unlink()
    again = train(tmp_path, *on(tree, output), processes=2)
    assert differing(result_of(output), alone) == []
    assert "world_size was 1 and is 2" in again.printed()


@pytest.mark.slow
def test_torchrun_stopped_and_killed_goes_on_exactly(tree: Path, tmp_path: Path) -> None:
    """With batch norm, whose statistics each process keeps for itself: the checkpoint's are rank 0's."""
    settings = ("trainer.batch_size=2", "trainer.workers=2", "trainer.max_steps=20")
    train(tmp_path, *on(tree, tmp_path / "whole", *settings), processes=2)
    output = tmp_path / "run"
    for stop in ("SIGTERM", "SIGINT of all", "kill -9 of one", "kill -9 of torchrun's group"):
        with TrainProcess(tmp_path, *on(tree, output, *settings), processes=2) as process:
            process.wait_until(lambda process=process: process.steps_told() >= 2)  # type: ignore[misc]
            if stop == "SIGTERM":
                process.popen.terminate()
            elif stop == "SIGINT of all":
                os.killpg(process.popen.pid, signal.SIGINT)
            elif stop == "kill -9 of one":
                os.kill(processes_under(process.popen.pid)[-1], signal.SIGKILL)
            else:
                for pid in (process.popen.pid, *processes_under(process.popen.pid)):
                    os.kill(pid, signal.SIGKILL)
            begin = time.monotonic()
            assert process.code() != 0
            took = time.monotonic() - begin
            print(f"{stop}: ended after {took:.1f} s, code {process.code()}, at step {process.step()}")
            assert took < 30, "torchrun had to wait for a process that hung"
            if stop.startswith("SIG"):
                assert "the state is saved in" in process.errors()
                saved = checkpoint.load(output / "checkpoints" / "last.pt")["cursor"]["step"]
                assert saved == process.step()
            assert "bug in VisionKit" not in process.errors(), process.errors()
    train(tmp_path, *on(tree, output, *settings), processes=2)
    assert differing(result_of(output), result_of(tmp_path / "whole")) == []

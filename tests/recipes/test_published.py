"""The published classification recipes: their settings as they are printed, and a step of the whole network without
numbers (tensors on the meta device have shapes only)."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recipe_layouts import LAYOUTS, SYNSETS

from visionkit.assemble import build_model, load_data
from visionkit.config import compose, to_plain
from visionkit.engine.schedule import Plateau
from visionkit.phases import build_phases
from visionkit.structures import Batch, Targets

IMAGENET_STEPS = {32: 40037, 128: 10010, 256: 5005}  # of an epoch of 1,281,167 pictures


def published(  # one line each, so that the table below reads as one
    lr: float, batch: int, decay: float, all_decay: bool, classes: int, side: int, parameters: int, augment: list[str]
) -> SimpleNamespace:
    return SimpleNamespace(**locals())


RECIPES = {
    "alexnet_imagenet": published(0.01, 128, 5e-4, False, 1000, 227, 60_965_224, ["ScaleCrop", "ColorNoise"]),
    "vgg16_imagenet": published(0.01, 256, 5e-4, False, 1000, 224, 138_357_544, ["ScaleCrop", "ColorNoise"]),
    "googlenet_imagenet": published(0.01, 32, 2e-4, False, 1000, 224, 13_378_280, ["RandomResizedCrop"]),
    "resnet50_imagenet": published(0.1, 256, 1e-4, True, 1000, 224, 25_557_032, ["RandomResizedCrop"]),
    "resnet20_cifar10": published(0.1, 128, 1e-4, True, 10, 32, 269_722, ["PadCrop"]),
    "lenet_mnist": published(0.05, 128, 5e-4, False, 10, 32, 61_706, []),
}
NAMES = list(RECIPES)


def recipe(name: str, *overrides: str) -> Any:
    return compose("train", [f"experiment={name}", *overrides])


def on_meta(name: str, *overrides: str) -> tuple[Any, Any]:
    config = recipe(name, *overrides)
    with torch.device("meta"):
        return config, build_model(config, RECIPES[name].classes)


def rates(config: Any, model: Any, total: int, steps: list[int]) -> list[float]:
    """Learning rates of a run of `total` steps after so many of them."""
    (phase,), _ = build_phases(config, model, None, total)
    base = phase.groups(model)[0]["lr"]
    schedule = phase.schedule()
    return [base * schedule(step, total) for step in steps]


@pytest.mark.parametrize("name", NAMES)
def test_settings(name):
    wanted, (config, model) = RECIPES[name], on_meta(name)
    plain = to_plain(config)
    (phase,), _ = build_phases(config, model, None, 100)
    groups = {group["name"]: group for group in phase.groups(model)}
    optimizer = phase.optimizer(list(groups.values()))
    assert isinstance(optimizer, torch.optim.SGD) and {g["momentum"] for g in optimizer.param_groups} == {0.9}
    assert plain["trainer"]["base_batch"] == wanted.batch and config.optim.lr == wanted.lr
    assert groups["weights"]["weight_decay"] == wanted.decay
    others = {group["weight_decay"] for key, group in groups.items() if key != "weights"}
    assert others == {wanted.decay if wanted.all_decay else 0.0}
    targets = [step["_target_"].rpartition(".")[2] for step in plain["augment"].get("steps", [])]
    assert [target for target in targets if target != "RandomFlip"] == wanted.augment
    assert ("RandomFlip" in targets) == (name != "lenet_mnist")  # a mirrored digit is none
    assert config.schedule.warmup == 0 and model.label_smoothing == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_follows_the_batch(name):
    config, model = on_meta(name, "trainer.batch_size=8", "trainer.accumulate=1")
    expected = RECIPES[name].lr * 8 / RECIPES[name].batch
    assert rates(config, model, 100, [0]) == [pytest.approx(expected)]


@pytest.mark.parametrize("name", NAMES)
def test_a_step_without_numbers(name):
    wanted, (_, model) = RECIPES[name], on_meta(name)
    assert model.resize.size == wanted.side
    assert sum(p.numel() for p in model.parameters()) == wanted.parameters
    with torch.device("meta"):
        zeros, side = torch.zeros(2, dtype=torch.int64), wanted.side
        batch = Batch(torch.zeros(2, 3, side, side, dtype=torch.uint8), torch.full((2, 2), side), zeros, zeros)
        none = torch.zeros(2, 1, dtype=torch.bool)
        targets = Targets(torch.zeros(2, 1, 4), none.long(), none, none, image_labels=zeros)
        losses = model.train()(batch, targets)
    assert set(losses) == {"loss_class"} | ({"loss_aux"} if name == "googlenet_imagenet" else set())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_when_the_rates_fall():
    config, model = on_meta("resnet50_imagenet")
    epoch = IMAGENET_STEPS[256]
    at = [0, 30 * epoch - 1, 30 * epoch, 60 * epoch, 90 * epoch - 1]
    config.trainer.batch_size = 256
    assert rates(config, model, 90 * epoch, at) == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001])
    assert config.trainer.epochs == 90

    config, model = on_meta("googlenet_imagenet")
    epoch = IMAGENET_STEPS[32]
    at = [epoch * count for count in (0, 7, 8.01, 16.01, 249)]
    expected = [0.01 * 0.96**power for power in (0, 0, 1, 2, 31)]
    assert rates(config, model, config.trainer.epochs * epoch, at) == pytest.approx(expected)

    config, model = on_meta("resnet20_cifar10")
    at = [0, 31_999, 32_000, 47_999, 48_000, 63_999]
    assert rates(config, model, config.trainer.max_steps, at) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize("name", ["alexnet_imagenet", "vgg16_imagenet"])
def test_the_rate_falls_on_a_plateau(name):
    config, model = on_meta(name)
    (phase,), _ = build_phases(config, model, None, 100)
    schedule = phase.schedule()
    assert isinstance(schedule.after, Plateau)
    for score in (0.5, 0.55, 0.55, 0.5505, 0.55):
        schedule.observe(score)
        assert schedule(50, 100) == 1.0
    schedule.observe(0.55)
    assert schedule(50, 100) == pytest.approx(0.1)
    assert config.evaluation.monitor == "top1"


def test_the_classes_of_the_real_trees(tmp_path, monkeypatch):
    """The layouts that the recipes are tested on are read as what they are."""
    monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    expected = {
        "resnet50_imagenet": (9, 3, tuple(terms.partition(",")[0] for terms in SYNSETS.values())),
        "resnet20_cifar10": (50, 10, ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                                      "truck")),
        "lenet_mnist": (20, 10, tuple("0123456789")),
    }  # fmt: skip
    for name, (train, val, names) in expected.items():
        config = recipe(name)
        plain = to_plain(config)["data"]
        LAYOUTS[plain["_target_"]](tmp_path / plain["root"], plain)
        data = load_data(config)
        assert (len(data.train), len(data.val), data.names) == (train, val, names)

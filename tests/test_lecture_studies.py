"""The studies of the lectures: every run of theirs is a configuration that exists, and says what its name says."""

from functools import cache
from pathlib import Path

import pytest

from visionkit.config import compose, to_plain
from visionkit.study import columns_of, members

STUDIES = ("digits", "failures", "optimizers", "small_batch_bn", "transfer")
OPTIMIZERS = ("sgd", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw")


@cache
def study(name):
    """Its settings, and the configuration of each of its runs."""
    settings = to_plain(compose("study", [f"study={name}"]))["study"]
    runs = {member.name: member.overrides for member in members(settings, Path("unused"))}
    return settings, {run: compose("train", list(overrides)) for run, overrides in runs.items()}


@pytest.mark.parametrize("name", STUDIES)
def test_every_run_composes(name):
    settings, runs = study(name)
    assert settings["name"] == name and len(runs) >= 6
    assert columns_of(settings)[1] == settings["plot"]
    for run, config in runs.items():
        fitted = config.task.get("head", "own") != "own"
        fits = all("fit" in phase for phase in to_plain(config)["phases"].values())
        assert fitted == fits, f"{run}: a fitted head goes with phases that fit it, and with no others"


def test_optimizers_differ_in_nothing_else():
    _, runs = study("optimizers")
    assert tuple(runs) == OPTIMIZERS
    plain = {name: to_plain(config) for name, config in runs.items()}
    for name, config in plain.items():
        assert config.pop("optim")["optimizer"]["_target_"].rpartition(".")[2].lower() in (name, "sgd")
    assert all(config == plain["sgd"] for config in plain.values())


def test_failures_differ_in_one_thing():
    _, runs = study("failures")
    healthy = to_plain(runs["healthy"])
    for name, config in runs.items():
        own = to_plain(config)
        changed = [group for group in healthy if group != "experiment" and own[group] != healthy[group]]
        assert len(changed) == (name != "healthy"), name
        if changed == ["trainer"]:
            assert sum(own["trainer"][key] != value for key, value in healthy["trainer"].items()) == 1


def test_one_batch_is_the_whole_set():
    from visionkit.data.digits import digits

    _, runs = study("failures")
    assert runs["whole_set_as_one_batch"].trainer.batch_size == len(digits(8).train)


def test_transfer_starts_from_imagenet_or_from_scratch():
    _, runs = study("transfer")
    for name, config in runs.items():
        assert config.backbone.weights == (None if name.endswith("from_scratch") else "imagenet"), name


def test_transfer_gives_every_resnet18_the_same_steps_and_pictures():
    _, runs = study("transfer")
    same = [to_plain(config) for config in runs.values() if config.backbone["_target_"].endswith("resnet18")]
    assert len(same) == 6
    for group in ("data", "trainer", "augment", "schedule"):
        assert all(config[group] == same[0][group] for config in same), group


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_the_same_keys_and_takes_a_step(name):
    import torch

    from visionkit.config import instantiate
    from visionkit.engine.optim import parameter_groups

    optim = compose("train", [f"optim={name}"]).optim
    assert set(optim) == set(compose("train", ["optim=sgd"]).optim)
    layer = torch.nn.Linear(4, 2)
    groups = parameter_groups(layer, lr=optim.lr, weight_decay=optim.weight_decay)
    optimizer = instantiate(optim.optimizer)(groups, lr=optim.lr)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 4)).square().sum().backward()
    optimizer.step()
    moved = (layer.weight - before).abs().max().item()
    assert 0 < moved < 0.2

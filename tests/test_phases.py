"""Phases from a configuration: shares, what is frozen, rates by depth; and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from visionkit.engine.phases import FitPhase, Phase, set_trainable
from visionkit.errors import ConfigError
from visionkit.models.build import classifier
from visionkit.phases import build_phases, depth_multipliers, trainable_parameters

OPTIM = {
    "lr": 0.1,
    "weight_decay": 0.0,
    "norm_decay": 0.0,
    "bias_decay": 0.0,
    "lr_multipliers": {},
    "depth_factor": 1.0,
    "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True},
}


@pytest.fixture(scope="module")
def model():
    from visionkit.backbones.resnet import basic_resnet

    return classifier(basic_resnet(widths=[8, 8, 16, 16]), 3, size=32)


def built(model, phases, steps=100, **optim):
    trainer = {"base_batch": None, "batch_size": 4, "accumulate": 1}
    schedule = {"_target_": "visionkit.engine.schedule.constant", "_partial_": True}
    config = OmegaConf.create({"phases": phases, "optim": OPTIM | optim, "trainer": trainer, "schedule": schedule})
    return build_phases(config, model, SimpleNamespace(), steps)[0]


def trained_names(phase, model):
    at_start = {name: p.requires_grad for name, p in model.named_parameters()}
    set_trainable(model, phase, at_start)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    for name, p in model.named_parameters():
        p.requires_grad_(at_start[name])
    return names


def test_shares_become_steps_and_freezing_follows_the_stages(model):
    phases = built(
        model,
        {
            "head": {"share": 0.25, "freeze": "backbone"},
            "deep": {"freeze": "c3", "lr": 0.5},
            "all": {"share": 0.5, "lr": 0.1, "losses": ["loss_class"]},
        },
    )
    assert [(phase.name, phase.steps) for phase in phases] == [("head", 25), ("deep", 25), ("all", 50)]
    assert all(name.startswith("head.") for name in trained_names(phases[0], model))
    deep = trained_names(phases[1], model)
    assert any(n.startswith("backbone.layer3") for n in deep) and not any(n.startswith("backbone.layer2") for n in deep)
    assert trained_names(phases[2], model) == {name for name, _ in model.named_parameters()}
    assert phases[2].losses == ["loss_class"]
    assert [phase.groups(model)[0]["lr"] for phase in phases] == pytest.approx([0.1, 0.05, 0.01])
    assert trainable_parameters(phases, model) == sum(p.numel() for p in model.parameters())


def test_what_the_run_froze_stays_frozen(model):
    frozen = [p for name, p in model.named_parameters() if name.startswith("backbone.conv1")]
    for p in frozen:
        p.requires_grad_(False)
    names = trained_names(built(model, {"all": {}})[0], model)
    for p in frozen:
        p.requires_grad_(True)
    assert "backbone.conv1.weight" not in names and "backbone.layer1.0.conv1.weight" in names


def test_a_fit_gets_model_and_data(model):
    seen = {}

    def fit(model, data, c):
        seen.update(model=model, data=data, c=c)
        return {"x": 1.0}

    node = {"_target_": "visionkit.engine.schedule.constant", "_partial_": True}  # any allowed target; replaced below
    phase = built(model, {"fit": {"fit": node}}, steps=1)[0]
    assert isinstance(phase, FitPhase)
    from functools import partial

    from visionkit.phases import _fitted

    assert _fitted(partial(fit, c=3), "data", model) == {"x": 1.0} and seen == {"model": model, "data": "data", "c": 3}


def test_rates_fall_with_the_depth(model):
    factors = depth_multipliers(model, model.backbone, 0.5)
    assert factors["backbone.layer4"] == 0.5 and factors["backbone.layer3"] == 0.25
    assert factors["backbone.conv1"] == 0.5**5
    assert depth_multipliers(model, model.backbone, 1.0) == {}
    groups = built(model, {"all": {}}, depth_factor=0.5)[0].groups(model)
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates["backbone.layer4/weights"] == pytest.approx(0.05) and rates["weights"] == pytest.approx(0.1)
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ({}, "at least one phase"),
        ({"a": {"shar": 1}}, r"phases\.a\.shar; did you mean share"),
        ({"a": {"share": 0.5}}, "1 together"),
        ({"a": {"share": 0.7}, "b": {"share": 0.7}}, "1 together"),
        ({"a": {"share": 1.0}, "b": {}}, "1 together"),
        ({"a": {"lr": 0}}, r"phases\.a\.lr=0"),
        ({"a": {"freeze": "c9"}}, "the stages are c1, c2"),
        ({"a": {"trainable": ["heads"]}}, "'heads'"),
        ({"a": {"freeze": "backbone", "trainable": ["backbone.layer1"]}}, "freezes everything"),
        ({"a": {"trainable": "head"}}, "a list of names"),
        ({"a": 3}, "a group of settings"),
        ({"a": {"fit": {}, "share": 1.0}}, "nothing else"),
        ({"a": {"share": float("nan")}}, r"phases\.a\.share=nan"),
        ({"a": {"lr": float("inf")}}, r"phases\.a\.lr=inf"),
        ({"a": {"freeze": ["c1"]}}, "the name of a stage"),
        ({"a": {"fit": None}}, "a group with a _target_"),
        ({"a": {"fit": "foo"}}, "a group with a _target_"),
        ({"a": {"fit": {"_target_": "visionkit.fitted.fit_svm", "_partial_": True}}}, "set task.head=svm"),
    ],
)
def test_what_is_refused(model, phases, words):
    with pytest.raises(ConfigError, match=words):
        built(model, phases)


def test_more_phases_than_steps(model):
    with pytest.raises(ConfigError, match="at least as many steps"):
        built(model, {"a": {}, "b": {}}, steps=1)
    assert [phase.steps for phase in built(model, {"a": {"share": 0.01}, "b": {}, "c": {}}, steps=3)] == [1, 1, 1]
    assert all(isinstance(phase, Phase) for phase in built(model, {"a": {}, "b": {}}, steps=2))


def test_training_by_phases_moves_what_it_should(model):
    phases = built(model, {"head": {"freeze": "backbone"}})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    set_trainable(model, phases[0], {name: True for name in before})
    optimizer = phases[0].optimizer(phases[0].groups(model))
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("head.")}
    model.requires_grad_(True)


def test_a_fitted_head_is_not_trained():
    from visionkit.backbones.resnet import basic_resnet

    fitted = classifier(basic_resnet(widths=[8, 8, 16, 16]), 3, size=32, head="svm")
    with pytest.raises(ConfigError, match="choose phases=svm"):
        built(fitted, {"train": {}})
    phases = built(fitted, {"svm": {"fit": {"_target_": "visionkit.fitted.fit_svm", "_partial_": True}}})
    assert [type(phase) for phase in phases] == [FitPhase]


def test_losses_are_checked_before_anything_is_trained(model):
    from types import SimpleNamespace as Node

    from visionkit.assemble import check_phases

    config = Node(trainer=Node(patience=None, evaluate_epochs=1, precision="fp32"), evaluation=Node(monitor="top1"))
    device = torch.device("cpu")
    check_phases(built(model, {"a": {"losses": ["loss_class"]}}), model, config, device)
    for losses in ([], ["loss_clas"]):
        with pytest.raises(ConfigError, match=r"phases\.a\.losses=.*loss_class"):
            check_phases(built(model, {"a": {"losses": losses}}), model, config, device)
    config.trainer.patience = 2
    with pytest.raises(ConfigError, match="trainer.patience would end it too early"):
        check_phases(built(model, {"a": {"losses": ["loss_class"]}}), model, config, device)
    config.trainer.evaluate_epochs = 0
    with pytest.raises(ConfigError, match="there is one"):
        check_phases(built(model, {"a": {}}), model, config, device)

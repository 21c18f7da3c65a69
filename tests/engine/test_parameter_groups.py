from pathlib import Path

import pytest
import torch
from torch import nn

from visionkit.engine.optim import linear_scale, parameter_groups
from visionkit.errors import ConfigError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False))
        self.backbone_extra = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.gamma = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)


def named(model: nn.Module, groups: list[dict]) -> dict[str, list[str]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: [names[id(p)] for p in group["params"]] for group in groups}


def test_no_decay_on_norms_and_biases() -> None:
    model = Net()
    groups = parameter_groups(model, 0.1, 0.01)
    assert named(model, groups) == {
        "norms": ["gamma", "backbone.1.weight", "backbone.1.bias", "norm.weight", "norm.bias"],
        "weights": ["backbone.0.weight", "backbone.2.weight", "backbone_extra.weight", "head.weight"],
        "biases": ["backbone.0.bias", "backbone_extra.bias", "head.bias"],
    }
    assert {g["name"]: g["weight_decay"] for g in groups} == {"norms": 0.0, "weights": 0.01, "biases": 0.0}
    assert {g["lr"] for g in groups} == {0.1} == {g["initial_lr"] for g in groups}
    decays = parameter_groups(model, 0.1, 0.01, norm_decay=0.2, bias_decay=0.3)
    assert {g["name"]: g["weight_decay"] for g in decays} == {"norms": 0.2, "weights": 0.01, "biases": 0.3}


def test_learning_rates_per_part() -> None:
    model = Net()
    groups = parameter_groups(model, 1.0, 0.0, lr_multipliers={"backbone": 0.1, "backbone.2": 0.5})
    rates = {name: g["lr"] for g in groups for name in named(model, [g])[g["name"]]}
    assert rates["backbone.0.weight"] == rates["backbone.1.bias"] == pytest.approx(0.1)
    assert rates["backbone.2.weight"] == 0.5
    assert rates["backbone_extra.weight"] == rates["head.weight"] == rates["gamma"] == 1.0
    assert len({g["name"] for g in groups}) == len(groups) == 7


def test_frozen_parameters_are_left_out() -> None:
    model = Net()
    model.backbone.requires_grad_(False)
    taken = sum(named(model, parameter_groups(model, 1.0, 0.0, lr_multipliers={"backbone": 0.1})).values(), [])
    assert sorted(taken) == sorted(name for name, _ in model.named_parameters() if not name.startswith("backbone."))
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no trainable parameter"):
        parameter_groups(model, 1.0, 0.0)


def test_a_mistyped_prefix() -> None:
    for prefix in ("backbon", "backbone.7"):
        with pytest.raises(ConfigError, match=f"no parameter of the model is called '{prefix}'"):
            parameter_groups(Net(), 1.0, 0.0, lr_multipliers={prefix: 0.1})


def test_linear_scaling_tells() -> None:
    lr, sentence = linear_scale(0.02, 16, 4)
    assert lr == pytest.approx(0.005) and sentence.startswith("learning rate 0.005 = 0.02 x 4 / 16")
    assert linear_scale(0.02, None, 4)[0] == linear_scale(0.02, 4, 4)[0] == 0.02


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_configurations_build(name: str) -> None:
    hydra, omegaconf = pytest.importorskip("hydra.utils"), pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.load(Path(__file__).parents[2] / "configs" / "optim" / f"{name}.yaml")
    assert set(config) == {
        "lr",
        "weight_decay",
        "norm_decay",
        "bias_decay",
        "lr_multipliers",
        "depth_factor",
        "optimizer",
    }
    options = {key: config[key] for key in config if key not in ("depth_factor", "optimizer")}
    optimizer = hydra.instantiate(config.optimizer)(parameter_groups(Net(), **options))
    assert {group["lr"] for group in optimizer.param_groups} == {config.lr}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, config.weight_decay}

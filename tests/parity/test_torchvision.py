"""The full matrix: every network that torchvision has, from its own state dict. `make parity` runs it (minutes)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from tests.backbones.torchvision_parity import assert_equals_torchvision
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.config import instantiate

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs"
NETWORKS = sorted(file.stem for file in (CONFIGS / "backbone").glob("*.yaml"))

# torchvision's networks that we have, with the smallest side at which all of a network is used.
SIZES = {
    "alexnet": 224,
    **{f"vgg{depth}{norm}": 64 for depth in (11, 13, 16, 19) for norm in ("", "_bn")},
    "googlenet": 96,
    **{f"resnet{depth}": 64 for depth in (18, 34, 50, 101, 152)},
    **{name: 64 for name in ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d")},
    **{name: 64 for name in ("wide_resnet50_2", "wide_resnet101_2")},
    **{f"densenet{depth}": 64 for depth in (121, 161, 169, 201)},
    **{name: 64 for name in ("squeezenet1_0", "squeezenet1_1")},
    "mobilenet_v2": 64,
    **{f"shufflenet_v2_{width}": 64 for width in ("x0_5", "x1_0", "x1_5", "x2_0")},
    **{f"efficientnet_b{k}": 64 for k in range(8)},
}

pytestmark = pytest.mark.parity


def build(name: str, **changes: object) -> torch.nn.Module:
    """The network of configs/backbone/NAME.yaml."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        node = compose("train", [f"backbone={name}"]).backbone
    return instantiate(node, **changes)


def theirs(name: str) -> torch.nn.Module:
    from torchvision import models

    extra = {"aux_logits": True, "transform_input": False, "init_weights": False} if name == "googlenet" else {}
    return models.get_model(name, weights=None, **extra)


@pytest.mark.parametrize("name", SIZES)
def test_logits_and_gradients_equal_torchvisions(name, tmp_path):
    torch.manual_seed(0)
    assert_equals_torchvision(build(name), theirs(name), tmp_path, size=SIZES[name])


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    from torchvision import models

    published = models.get_model_weights(name)["IMAGENET1K_V1"]
    crop = published.transforms().crop_size[0]
    found = analyze(name, crop)
    assert found["parameters"] == published.meta["num_params"]
    assert found["multiply_adds"] / 1e9 == pytest.approx(published.meta["_ops"], rel=1e-3, abs=5e-4)  # 3 digits printed


def analyze(name: str, size: int) -> dict[str, float]:
    command = [sys.executable, "tools/analyze.py", f"backbone={name}", f"size={size}", "format=json"]
    return json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("name", NETWORKS)
def test_contract(name):
    torch.manual_seed(0)
    net = build(name)
    if net.min_size <= 96:
        assert_is_backbone(net, sizes=None)
    else:
        assert_is_backbone(net, sizes=((net.min_size, net.min_size + 64),))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v2", "densenet121", "googlenet", "alexnet"])
def test_trunk_compiles_without_breaks_and_whole_network_exports(name):
    net = build(name)
    assert_compiles(net, (96, 96))
    assert_exports(net, (96, 96))


@pytest.mark.parametrize("name", NETWORKS)
def test_takes_a_step(name, tmp_path):
    """`tools/train.py task=classify backbone=NAME`, on few generated pictures of the least usable size."""
    net = build(name)
    size = max(net.min_size, 64 if net.resolution > 64 else net.resolution)
    del net
    run = subprocess.run(
        [sys.executable, "tools/train.py", "task=classify", f"backbone={name}", f"task.size={size}",
         "data.detection.train_images=8", "data.detection.val_images=2", f"data.detection.root={tmp_path / 'scenes'}",
         "trainer.max_steps=1", "trainer.batch_size=2", "trainer.workers=0", "trainer.device=cpu", "optim.lr=0.0001",
         f"output={tmp_path / 'run'}"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert "step 1/1" in run.stdout + run.stderr
    assert (tmp_path / "run/eval/metrics.json").exists()

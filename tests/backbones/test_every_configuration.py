"""Every file of configs/backbone: it builds, and as a classifier it takes a training step. Nothing is computed: tensors
on the meta device have shapes and no values. `make parity` takes the steps in earnest."""

import re
from pathlib import Path

import pytest
import torch

from visionkit.config import compose, instantiate
from visionkit.models.build import classifier
from visionkit.structures import Batch, Targets

REPOSITORY = Path(__file__).parents[2]
NAMES = sorted(file.stem for file in (REPOSITORY / "configs/backbone").glob("*.yaml"))


def documented() -> dict[str, int]:
    """The parameters in the tables of docs/networks.md."""
    rows = re.findall(
        r"^\| (\w+) \| [\dx ]+ \| ([\d,]+) \|", (REPOSITORY / "docs/networks.md").read_text(), re.MULTILINE
    )
    return {name: int(count.replace(",", "")) for name, count in rows}


DOCUMENTED = documented()


def test_every_network_is_in_the_page():
    others = [name for name in NAMES if name not in DOCUMENTED]
    assert all(
        name.endswith(("_fpn", "_fpn_v2", "_dc5", "_d8"))
        or name in ("timm", "cell_network", "basic_resnet")
        or name == "vgg11_bn_narrow"  # no network of a paper
        for name in others
    )
    assert set(DOCUMENTED) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_builds_and_takes_a_step(name):
    node = compose("train", [f"backbone={name}"]).backbone
    assert {"_target_", "weights", "norm"} <= set(node) and node.weights is None
    built_for_real = name.startswith("timm")  # the adapter looks at what a real image gives
    with torch.device("cpu" if built_for_real else "meta"):
        net = instantiate(node)
    net = net.to("meta")
    side = max(net.min_size, min(net.resolution, 64))
    with torch.device("meta"):
        classes = 10 if net.resolution == 32 else 1000
        count = sum(p.numel() for module in (net, net.new_classifier(classes)) for p in module.parameters())
        assert count == DOCUMENTED.get(name, count)
        model = classifier(net, 5, size=side)
        zeros = torch.zeros(2, dtype=torch.int64)
        batch = Batch(torch.zeros(2, 3, side, side, dtype=torch.uint8), torch.full((2, 2), side), zeros, zeros)
        truth = torch.zeros(2, 1, dtype=torch.bool)
        targets = Targets(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64), truth, truth, image_labels=zeros)
        losses = model(batch, targets)
    sum(losses.values()).backward()
    head = [p for p in model.head.parameters()]
    assert head and all(p.grad is not None and p.grad.shape == p.shape for p in head)
    first = next(p for p in net.parameters() if p.requires_grad)
    assert first.grad is not None
    name = net.region_stages[-1]
    assert net.stages[name].stride >= 1 and net.window > 1

"""Every file of configs/backbone: it builds, and as a classifier it takes a training step. Nothing is computed: tensors
on the meta device have shapes and no values. `make parity` takes the steps in earnest."""

from pathlib import Path

import pytest
import torch

from visionkit.config import compose, instantiate
from visionkit.models.build import classifier
from visionkit.structures import Batch, Targets

NAMES = sorted(file.stem for file in (Path(__file__).parents[2] / "configs/backbone").glob("*.yaml"))


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

"""Each sabotage breaks one thing, and nothing else."""

import pytest
import torch
from torch import nn

from visionkit.backbones.lenet import lenet_relu
from visionkit.errors import ConfigError
from visionkit.models.build import classifier
from visionkit.models.sabotage import SABOTAGES, sabotaged
from visionkit.structures import Batch, Targets


def pictures(count=3):
    pixels = torch.randint(0, 256, (count, 1, 32, 32), dtype=torch.uint8).repeat(1, 3, 1, 1)
    numbers = torch.arange(count)
    batch = Batch(pixels, torch.full((count, 2), 32), numbers, numbers)
    none = torch.zeros(count, 1, dtype=torch.bool)
    zeros = torch.zeros(count, 1, dtype=torch.int64)
    return batch, Targets(torch.zeros(count, 1, 4), zeros, none, none, image_labels=numbers % 10)


def pair(sabotage):
    """A healthy model and a sabotaged one from the same start."""
    torch.manual_seed(0)
    healthy = classifier(lenet_relu(), 10)
    torch.manual_seed(0)
    return healthy, sabotaged(lenet_relu(), 10, sabotage=sabotage)


def test_raw_pixels_are_seen_as_they_are():
    healthy, broken = pair("raw_pixels")
    batch, _ = pictures()
    torch.testing.assert_close(broken.normalize(batch), batch.pixels[:, :1].float(), atol=1e-3, rtol=1e-5)
    others = [key for key in healthy.state_dict() if not key.startswith("normalize")]
    assert all(torch.equal(healthy.state_dict()[key], broken.state_dict()[key]) for key in others)


def test_zero_weights_learn_their_last_bias_alone():
    healthy, broken = pair("zero_weights")
    layers = [m for m in broken.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5 and all((layer.weight == 0).all() for layer in layers)
    batch, targets = pictures()
    broken(batch, targets)["loss_class"].backward()
    learning = [name for name, p in broken.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert learning == ["head.linear.bias"]
    assert torch.equal(healthy.normalize(batch), broken.normalize(batch))


def test_no_bias_takes_away_biases_alone():
    healthy, broken = pair("no_bias")
    kept = [name for name, _ in healthy.named_parameters() if not name.endswith("bias")]
    assert [name for name, _ in broken.named_parameters()] == kept
    assert all(torch.equal(healthy.state_dict()[name], broken.state_dict()[name]) for name in kept)
    assert broken(*pictures())["loss_class"].isfinite()


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_a_checkpoint_of_it_loads(sabotage):
    torch.manual_seed(1)
    trained = sabotaged(lenet_relu(), 10, sabotage=sabotage)
    fresh = sabotaged(lenet_relu(), 10, sabotage=sabotage)
    fresh.load_state_dict(trained.state_dict())
    batch, _ = pictures()
    assert torch.equal(fresh.classify(batch), trained.classify(batch))


def test_another_sabotage_is_refused():
    with pytest.raises(ConfigError, match="sabotage=no_data: the sabotages are raw_pixels, zero_weights, no_bias"):
        sabotaged(lenet_relu(), 10, sabotage="no_data")

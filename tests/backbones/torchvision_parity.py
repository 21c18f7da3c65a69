"""Holding a network of ours beside torchvision's with the same random weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from visionkit.backbones.base import Backbone
from visionkit.backbones.pretrained import load_weights


def logits_of(backbone: Backbone, classifier: nn.Module, images: Tensor) -> Tensor:
    """The whole classification network: trunk, pool, tail, classifier."""
    name = backbone.region_stages[0]
    return classifier(backbone.tail_maps(backbone.pool(backbone(images, (name,))[name])))


def lively_(net: nn.Module) -> nn.Module:
    """Weights that keep the variance from layer to layer, and statistics, scales and biases that are not trivial."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if tensor.ndim > 1:
                tensor.uniform_(-1, 1, generator=generator).mul_((6 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("running_mean", "bias")):
                tensor.uniform_(-0.1, 0.1, generator=generator)
            else:
                tensor.uniform_(0.8, 1.2, generator=generator)
    return net


def assert_equals_torchvision(
    backbone: Backbone, theirs: nn.Module, folder: Path, size: int = 224, logits: float = 1e-5, gradients: float = 1e-4
) -> None:
    """Loads the state dict of `theirs` through a file, strictly; compares parameter counts, logits and gradients.

    Distances are relative to the largest value of the tensor.
    """
    theirs = lively_(theirs).eval()
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    classifier = backbone.new_classifier(1000)
    aux = backbone.new_aux_classifiers(1000)
    report = load_weights(backbone, folder / "theirs.pth", classifier, aux if len(aux) else None)
    (folder / "theirs.pth").unlink()
    assert not report.unused, report.unused
    ours = nn.ModuleList([backbone, classifier, aux]).eval()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    found, expected = logits_of(backbone, classifier, images), theirs(images)
    assert expected.std() > 1e-3, "logits of nothing prove nothing"
    assert relative(found, expected) < logits, relative(found, expected)
    weights = torch.randn(1, 1000, generator=torch.Generator().manual_seed(2))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    published = dict(theirs.named_parameters())
    heads = {
        published: (head, own)
        for head, names in ((classifier, backbone.classifier_keys), (aux, backbone.aux_keys))
        for published, own in names.items()
    }
    mine = dict(backbone.named_parameters())
    for prefix, (head, own) in heads.items():
        mine |= {prefix + name.removeprefix(own): p for name, p in head.named_parameters() if name.startswith(own)}
    assert mine.keys() == published.keys()
    for name, parameter in published.items():
        if parameter.grad is None:  # an auxiliary head, in evaluation
            continue
        distance = relative(mine[name].grad, parameter.grad)
        assert distance < gradients, f"gradient of {name} is off by {distance:.1e}"


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))

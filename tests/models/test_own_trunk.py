"""The RPN with a trunk of its own: apart before it is joined, the detector's maps afterwards."""

import pytest
import torch
from region_pictures import TWO, pictures

from visionkit.alternating import share_trunk
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.models.build import faster_rcnn

SMALL = {
    **{"short": 96, "long": 128, "rpn_train_top": (200, 100), "rpn_test_top": (200, 50)},
    **{"rpn_samples": 64, "regions": 16, "anchor_sizes": [[16, 32, 64]]},
}


def tiny(alternating: bool = True):
    torch.manual_seed(0)
    return faster_rcnn(basic_resnet(norm="group"), 3, **SMALL, alternating=alternating)


def test_the_copy_starts_alike_and_has_no_tail():
    model = tiny()
    own, shared = dict(model.propose.trunk.named_parameters()), dict(model.backbone.named_parameters())
    assert set(own) < set(shared) and not any(name.startswith("layer4") for name in own)
    assert all(torch.equal(own[name], shared[name]) for name in own)
    plain = tiny(alternating=False)
    plain.load_state_dict(
        {name.replace("propose.rpn.", "propose."): value for name, value in model.state_dict().items()
         if not name.startswith(("propose.trunk", "propose.normalize", "propose.shared"))}
    )  # fmt: skip
    mine, theirs = model.eval()(pictures(), TWO), plain.eval()(pictures(), TWO)
    assert all(torch.allclose(mine[name], theirs[name]) for name in theirs), "the same network, computed twice"


def test_each_trunk_learns_from_its_own_losses():
    model = tiny()
    losses = model(pictures(), TWO)
    (losses["loss_objectness"] + losses["loss_proposal"]).backward(retain_graph=True)
    assert model.propose.trunk.conv1.weight.grad.abs().sum() > 0 and model.backbone.conv1.weight.grad is None
    model.zero_grad()
    (losses["loss_class"] + losses["loss_box"]).backward()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0 and model.propose.trunk.conv1.weight.grad is None


def test_joined_it_looks_at_the_detectors_maps():
    model = tiny().eval()
    with torch.no_grad():
        model.backbone.conv1.weight.add_(torch.randn_like(model.backbone.conv1.weight))
        apart = model(pictures(), TWO)["loss_objectness"]
        assert share_trunk(model, None) == {"shared": 1.0}
        joined = model(pictures(), TWO)["loss_objectness"]
        model.propose.trunk.conv1.weight.zero_()
        assert torch.equal(model(pictures(), TWO)["loss_objectness"], joined)
    assert apart != joined
    again = tiny().eval()
    again.load_state_dict(model.state_dict())
    assert bool(again.propose.shared), "a checkpoint remembers"


def test_what_it_refuses():
    with pytest.raises(ConfigError, match="alternating=true"):
        share_trunk(tiny(alternating=False), None)
    pyramid = build_fpn(basic_resnet, names=["c3", "c4", "c5"], channels=16, hidden=32, extra=None)
    with pytest.raises(ConfigError, match="alternating"):
        faster_rcnn(pyramid, 3, alternating=True)

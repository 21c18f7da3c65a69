"""Dilation in place of strides: the same numbers as before at every cell that the coarser map has."""

import pytest
import torch

from visionkit.backbones.resnet import resnet18, resnet50
from visionkit.errors import ConfigError


@pytest.mark.parametrize("build", [resnet18, resnet50])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_the_coarse_map_is_a_part_of_the_fine_one(build, output_stride):
    """The weights of the undilated network serve: what it computes is every second or fourth cell of the finer map."""
    torch.manual_seed(0)
    plain, dilated = build().eval(), build(output_stride=output_stride).eval()
    dilated.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 128, 96)
    with torch.no_grad():
        coarse, fine = (net(images, ("c3", "c4", "c5")) for net in (plain, dilated))
    for name in ("c3", "c4", "c5"):
        assert fine[name].shape[-1] * dilated.stages[name].stride == 96
        step = plain.stages[name].stride // dilated.stages[name].stride
        expected = coarse[name]
        found = fine[name][:, :, ::step, ::step]
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5, name
    assert dilated.stages["c5"].stride == output_stride
    assert dilated.dense_stride == output_stride // dilated.stages["c4"].stride


def test_bottlenecks_are_torchvisions():
    from torchvision.models import resnet50 as torchvisions

    torch.manual_seed(0)
    theirs = torchvisions(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    ours = resnet50(output_stride=8).eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(1, 3, 65, 81)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
        torch.testing.assert_close(ours(images, ("c5",))["c5"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{"output_stride": 4}, {"output_stride": 12}, {"output_stride": 8, "dilation": 2}])
def test_strides_that_there_are_not(settings):
    with pytest.raises(ConfigError, match="8, 16 or 32"):
        resnet50(**settings)

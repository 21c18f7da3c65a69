"""One trunk on several scales, beside the same scale by scale."""

import pytest
import torch
import torch.nn.functional as F

from visionkit.backbones.multi_scale import MultiScale
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError


def body():
    torch.manual_seed(0)
    return VGG((1, 1, 1, 1, 1), "none", 0.0, widths=(4, 6, 8, 8, 8), hidden=8, window=1).eval()


@torch.no_grad()
def test_maps_are_those_of_the_body_at_each_scale():
    plain, images = body(), torch.randn(2, 3, 128, 160)
    trunk = MultiScale(body(), "c3", 3).eval()
    found = trunk(images, ("scales",))["scales"]
    assert found.shape == (2, 24, 32, 40) and trunk.stages["scales"] == (24, 4)
    for level in range(3):
        own = plain(F.avg_pool2d(images, 2**level), ("c3",))["c3"]
        expected = F.interpolate(own, size=(32, 40), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[:, 8 * level : 8 * level + 8], expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found[:, :8], found[:, 8:16], atol=1e-3)


def test_one_level_is_the_body_and_what_lies_behind_the_stage_is_gone():
    trunk, images = MultiScale(body(), "c2", 1), torch.randn(1, 3, 32, 33)
    assert torch.equal(trunk(images, ("scales",))["scales"], body()(images, ("c2",))["c2"])
    assert trunk(images, ()) == {}
    assert {name.rsplit(".", 1)[0] for name, _ in trunk.named_parameters()} == {"body.features.0", "body.features.3"}
    assert list(trunk.innermost().parts()) == ["c1", "pool1", "c2"]


def test_what_does_not_go_is_refused():
    with pytest.raises(ConfigError, match="no stage 'c9'"):
        MultiScale(body(), "c9")
    trunk = MultiScale(body(), "c3", 3)
    with pytest.raises(ConfigError, match="at least 128 x 128 pixels, not 128 x 96"):
        trunk(torch.randn(1, 3, 128, 96), ("scales",))
    with pytest.raises(KeyError, match="the stages are scales"):
        trunk(torch.randn(1, 3, 128, 128), ("c3",))
    with pytest.raises(ConfigError, match="no tail"):
        trunk.tail(torch.randn(1, 24, 1, 1))

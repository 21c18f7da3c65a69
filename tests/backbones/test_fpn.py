import re
from collections import OrderedDict
from functools import partial
from pathlib import Path

import pytest
import torch

from visionkit.backbones.box_tails import ConvTail, TwoLayerTail
from visionkit.backbones.contract import assert_is_backbone
from visionkit.backbones.fpn import FPN, build_fpn
from visionkit.backbones.resnet import basic_resnet, resnet18, resnet50
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "backbone").glob("*.yaml"))


def small(names=("c2", "c3", "c4", "c5"), extra="pool", **kwargs) -> FPN:
    return FPN(basic_resnet(), names, 16, extra, tail=TwoLayerTail(16, 7, 24), **kwargs)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_equals_torchvisions(size):
    from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

    ours = small().eval()
    theirs = FeaturePyramidNetwork([32, 64, 128, 256], 16, LastLevelMaxPool())
    blocks = {k: v for k, v in ours.state_dict().items() if k.startswith(("inner_blocks.", "layer_blocks."))}
    assert set(blocks) == set(theirs.state_dict())
    theirs.load_state_dict(blocks)
    images = torch.rand(2, 3, *size)
    expected = theirs(OrderedDict(ours.body(images, ("c2", "c3", "c4", "c5"))))
    found = ours(images, ("p2", "p3", "p4", "p5", "p6"))
    for name, theirs_name in zip(found, expected, strict=True):
        torch.testing.assert_close(found[name], expected[theirs_name], atol=1e-5, rtol=1e-5)


def test_keys_are_those_of_torchvisions_detector_but_for_prefixes():
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    with torch.device("meta"):
        ours = build_fpn(partial(resnet50), norm="frozen")
        theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    renamed = {}
    for key, value in theirs.state_dict().items():
        for old, new in (("backbone.body.", "body."), ("backbone.fpn.", ""), ("roi_heads.box_head.", "box_tail.")):
            if key.startswith(old):
                renamed[new + key.removeprefix(old)] = value.shape
    batch_norm_counters = {key for key in renamed if key.endswith("num_batches_tracked")}
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v for k, v in renamed.items() if k not in batch_norm_counters
    }


def test_tail_equals_torchvisions():
    from torchvision.models.detection.faster_rcnn import TwoMLPHead

    ours, theirs = TwoLayerTail(4, 7, 12), TwoMLPHead(4 * 49, 12)
    theirs.load_state_dict(ours.state_dict())
    windows = torch.rand(3, 4, 7, 7)
    torch.testing.assert_close(ours(windows), theirs(windows))


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_convolutional_tail_equals_torchvisions(norm):
    from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead

    ours = ConvTail(4, 7, 12, convs=2, norm=norm).eval()
    theirs = FastRCNNConvFCHead((4, 7, 7), [4, 4], [12], torch.nn.BatchNorm2d if norm == "batch" else None).eval()
    keys = {k: re.sub(r"^(\d)", r"convs.\1", k).replace("convs.3", "fc") for k in theirs.state_dict()}
    for name, value in ours.state_dict().items():
        value.copy_(torch.rand_like(value.float()) - (0.0 if name.endswith("running_var") else 0.3))
    theirs.load_state_dict({k: ours.state_dict()[keys[k]] for k in keys})
    windows = torch.rand(3, 4, 7, 7)
    torch.testing.assert_close(ours(windows), theirs(windows))
    assert theirs(windows).abs().sum() > 0
    assert ours.dense(torch.rand(1, 4, 9, 11)).shape == (1, 12, 3, 5)


def test_norms_inside_the_pyramid_have_torchvisions_keys():
    from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork

    ours = small(norm="batch").eval()
    theirs = FeaturePyramidNetwork([32, 64, 128, 256], 16, norm_layer=torch.nn.BatchNorm2d).eval()
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if "_blocks." in k})
    images = torch.rand(1, 3, 64, 96)
    expected = theirs(OrderedDict(ours.body(images, ("c2", "c3", "c4", "c5"))))
    for found, wanted in zip(ours(images, ("p2", "p3", "p4", "p5")).values(), expected.values(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_torchvisions_second_version_is_a_backbone():
    net = build_fpn(basic_resnet, norm="batch", channels=16, hidden=24, neck_norm="batch", tail_convs=2)
    assert not net.dense_exact and small().dense_exact
    assert_is_backbone(net, sizes=((64, 64),))


def test_initial_weights():
    net = small()
    for block in (*net.inner_blocks, *net.layer_blocks):
        fan_in = block[0].weight[0].numel()
        bound = (3 / fan_in) ** 0.5  # uniform with a = 1: gain 1
        assert 0.9 * bound < block[0].weight.abs().max() <= bound
        assert not block[0].bias.any()


@pytest.mark.parametrize(
    ("names", "extra", "stages", "strides"),
    [
        (("c2", "c3", "c4", "c5"), "pool", "p2 p3 p4 p5 p6", (4, 8, 16, 32, 64)),
        (("c3", "c4", "c5"), None, "p3 p4 p5", (8, 16, 32)),
        (("c2", "c3"), "pool", "p2 p3 p4", (4, 8, 16)),
        (("c4",), "pool", "p4 p5", (16, 32)),
    ],
)
def test_any_consecutive_levels(names, extra, stages, strides):
    net = small(names, extra)
    assert " ".join(net.stages) == stages
    assert tuple(stage.stride for stage in net.stages.values()) == strides
    assert net.region_stages == tuple(name.replace("c", "p") for name in names)
    assert net.proposal_stages == tuple(stages.split())
    assert_is_backbone(net)  # no unused parameters is part of it


def test_on_a_vgg():
    body = VGG((1, 1, 1, 1, 1), widths=(8, 8, 8, 8, 8), hidden=16)
    net = FPN(body, ("c3", "c4", "c5"), 16, "pool", tail=TwoLayerTail(16, 7, 24))
    assert [stage.stride for stage in net.stages.values()] == [4, 8, 16, 32]
    assert_is_backbone(net)


def test_real_sizes():
    assert_is_backbone(build_fpn(resnet18, hidden=64), sizes=((64, 64),))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("c2", "c4"), "consecutive levels.*c2, c4"),
        (("c3", "c2"), "consecutive levels.*c3, c2"),
        (("c4", "c5", "c6"), "no stage 'c6'; the backbone's stages are c1, c2"),
        ((), "no stage named"),
    ],
)
def test_wrong_names(names, sentence):
    with pytest.raises(ConfigError, match=sentence):
        small(names)


def test_wrong_names_of_a_vgg_and_wrong_extra():
    with pytest.raises(ConfigError, match="consecutive levels.*pool4, pool5"):
        FPN(VGG((1,) * 5, widths=(8,) * 5, hidden=8), ("pool4", "pool5"), 8, tail=TwoLayerTail(8))
    with pytest.raises(ConfigError, match="extra must be pool or null, not 'conv'"):
        small(extra="conv")


def test_finer_levels_are_not_computed():
    net = small().eval()
    run = []
    for index, block in enumerate(net.inner_blocks):
        block.register_forward_hook(lambda *_, index=index: run.append(index))
    net(torch.rand(1, 3, 64, 64), ("p4",))
    assert run == [3, 2]


def test_channels_last_is_kept():
    net = small().eval().to(memory_format=torch.channels_last)
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    for map_ in net(images, ("p2", "p5")).values():
        assert map_.is_contiguous(memory_format=torch.channels_last)


def test_the_quickstarts_pyramid():
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    net = instantiate(OmegaConf.load(next(path for path in CONFIGS if path.stem == "basic_fpn")))
    assert {name: tuple(stage) for name, stage in net.stages.items()} == {"p3": (64, 8), "p4": (64, 16), "p5": (64, 32)}
    assert net.out_channels == 256
    assert_is_backbone(net)

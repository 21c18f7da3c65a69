import sys
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.backbones.torchvision_parity import lively_, logits_of, relative
from visionkit.backbones.contract import assert_compiles, assert_exports, assert_is_backbone
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.freeze import freeze
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.pretrained import load_weights
from visionkit.backbones.timm_adapter import FrozenNormAct, TimmBackbone, timm
from visionkit.errors import ConfigError

# A head that is a mean; one with a convolution behind it; one with a norm behind it; a 1x1 convolution before it.
MODELS = ("resnet10t", "mobilenetv3_small_050", "convnext_atto", "efficientnet_lite0")


def published(name: str) -> nn.Module:
    from timm import create_model

    return lively_(create_model(name)).eval()


@pytest.mark.parametrize("name", MODELS)
def test_contract(name):
    net = timm(name)
    assert net.window == 7 and net.region_stages == ("c5",)
    assert_is_backbone(net, sizes=((64, 96), (75, 69)))


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "frozen"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_timms(name, norm, tmp_path):
    theirs = published(name)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = timm(name, norm=norm).eval()
    classifier = ours.new_classifier(1000).eval()
    report = load_weights(ours, tmp_path / "theirs.pth", classifier)
    assert not report.unused
    assert len(report.classifier) == 2
    images = torch.rand(2, 3, 96, 96)
    expected = theirs(images)
    assert expected.std() > 1e-3
    assert relative(logits_of(ours, classifier, images), expected) < 1e-5
    own = sum(
        t.numel() for net in (ours, classifier) for key, t in net.state_dict().items() if "num_batches" not in key
    )
    assert own == sum(t.numel() for key, t in theirs.state_dict().items() if "num_batches" not in key)


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_maps_equal_timms_features(name):
    from timm import create_model

    net = timm(name).eval()
    features = create_model(name, features_only=True).eval()
    state = {key.removeprefix("model."): value for key, value in net.state_dict().items()}
    features.load_state_dict(
        {key: state[key.replace("stages_", "stages.").replace("stem_", "stem.")] for key in features.state_dict()}
    )
    images = torch.rand(1, 3, 64, 64)
    expected = dict(zip(net.stages, features(images), strict=True))
    maps = net(images, tuple(net.stages))
    for stage in net.stages:
        if stage != net.region_stages[0]:
            torch.testing.assert_close(maps[stage], expected[stage])
    assert [s.stride for s in net.stages.values()] == features.feature_info.reduction()
    torch.testing.assert_close(maps["c5"], net.model.forward_features(images))  # what the head takes


@pytest.mark.parametrize("takes", [assert_compiles, assert_exports])
def test_compiles_and_exports(takes):
    takes(timm("resnet10t"))


def test_on_the_meta_device():
    with torch.device("meta"):
        net = timm("convnext_atto", norm="frozen")
    assert list(net.stages) == ["c2", "c3", "c4", "c5"]
    assert all(p.is_meta for p in net.parameters())


def test_mean_std_and_resolution_are_the_models():
    with torch.device("meta"):
        assert timm("resnet10t").mean == (0.485, 0.456, 0.406)
        assert timm("resnet10t").resolution == 176
        net = timm("tf_efficientnet_lite0")
    assert net.mean == net.std == (0.5, 0.5, 0.5)


def test_frozen_norms_stand_in_for_batch_norms():
    net, frozen = timm("mobilenetv3_small_050"), timm("mobilenetv3_small_050", norm="frozen")
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == sum(isinstance(m, FrozenBatchNorm2d) for m in frozen.modules()) > 0
    assert not any(isinstance(m, nn.BatchNorm2d) for m in frozen.modules())
    acts = {type(m.act) for m in frozen.modules() if isinstance(m, FrozenNormAct)}
    assert acts == {type(m.act) for m in norms}
    lively_(net)
    frozen.load_state_dict({k: v for k, v in net.state_dict().items() if "num_batches" not in k})
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(frozen.train()(images, ("c5",)), net.eval()(images, ("c5",)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("names", [("c2", "c3", "c4", "c5"), ("c2", "c3")])
def test_feature_pyramid(name, names):
    net = build_fpn(partial(timm, name), names=names, channels=8, hidden=16)
    assert isinstance(net.body, TimmBackbone)
    kept, whole = set(net.body.state_dict()), set(timm(name, norm="frozen").state_dict())
    assert kept <= whole
    assert (kept == whole) == ("c5" in names and name in ("resnet10t", "efficientnet_lite0")), "no weights in the head"
    assert_is_backbone(net, sizes=((64, 128),))


def test_freezing():
    frozen = freeze(net := timm("resnet10t"), "c2")
    assert {name.split(".")[1] for name in frozen} == {"conv1", "bn1", "layer1"}
    net.train()
    assert not net.model.bn1.training and net.model.layer2[0].bn1.training


def test_weights_from_files(tmp_path):
    theirs = published("resnet10t")
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "theirs.pth")
    net = timm("resnet10t", weights=str(tmp_path / "theirs.pth"), norm="frozen")
    assert torch.equal(net.model.layer4[0].conv1.weight, theirs.layer4[0].conv1.weight)
    assert torch.equal(net.model.bn1.running_mean, theirs.bn1.running_mean)
    assert "2 unused (model.fc.weight, model.fc.bias)" in str(net.load_report)
    torch.save(net.state_dict(), tmp_path / "own.pth")
    again = timm("resnet10t", weights=str(tmp_path / "own.pth"), norm="frozen")
    assert torch.equal(again.model.bn1.running_mean, theirs.bn1.running_mean)
    body = build_fpn(partial(timm, "resnet10t"), weights=str(tmp_path / "theirs.pth"), names=("c3", "c4")).body
    assert torch.equal(body.model.layer3[0].conv1.weight, theirs.layer3[0].conv1.weight)


def test_imagenet_is_what_timm_publishes(monkeypatch):
    from timm import create_model

    asked = []

    def make(name: str, pretrained: bool, **options: object) -> nn.Module:
        asked.append((name, pretrained))
        return create_model(name, **options)

    monkeypatch.setattr("timm.create_model", make)
    timm("resnet10t", weights="imagenet")
    timm("resnet10t")
    assert asked == [("resnet10t", True), ("resnet10t", False)]

    def broken(name: str, **options: object) -> nn.Module:
        raise OSError("no route to host\nmore about it")

    monkeypatch.setattr("timm.create_model", broken)
    with pytest.raises(ConfigError, match=r"^timm cannot make resnet10t with weights imagenet \(no route to host\)$"):
        timm("resnet10t", weights="imagenet")


def test_dropout_and_drop_path():
    net = timm("resnet10t", dropout=0.3, drop_path=0.2)
    assert net.new_classifier(3).dropout.p == 0.3
    assert net.model.layer4[0].drop_path.drop_prob == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": "resnet10t", "norm": "group"}, r"must be batch \(as timm has it\) or frozen, not 'group'"),
        ({"model": "vit_tiny_patch16_224"}, "gives only maps of stride 16: a backbone needs several strides"),
        ({"model": "swin_tiny_patch4_window7_224"}, "does not take images of any size from 32 pixels on"),
        ({"model": "vgg11"}, "no head that begins with a mean over positions"),
        ({"model": "resnet10x"}, "timm has no model 'resnet10x'; it has resnet10"),
        ({"model": "resnet10t.no_such_weights"}, "timm cannot make resnet10t.no_such_weights"),
    ],
)
def test_what_is_refused(arguments, sentence):
    with torch.device("meta"), pytest.raises(ConfigError, match=sentence) as caught:
        timm(**arguments)
    assert "\n" not in str(caught.value)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install visionkit\[timm\]"):
        timm("resnet10t")


def test_the_head_is_dense_over_windows():
    net = lively_(timm("convnext_atto")).eval()
    region_map = torch.randn(2, 320, 8, 9)
    dense: Tensor = net.dense_tail(region_map)
    assert dense.shape == (2, 320, 2, 3)
    torch.testing.assert_close(dense[:, :, 1, 2], net.tail(region_map[:, :, 1:8, 2:9]))

"""Occlusion that computes what changed, beside the whole network for each place."""

import pytest
import torch
from torch import nn

from tests.explain.traces import unchanged
from tests.explain.twins import photographs, published_twins
from visionkit.backbones.densenet import DenseNet
from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.mobilenet_v2 import mobilenet_v2
from visionkit.backbones.preact_resnet import preact_resnet20
from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.se_resnet import se_resnet18
from visionkit.backbones.squeezenet import squeezenet1_0, squeezenet1_1
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError
from visionkit.explain import local_occlusion as tested
from visionkit.explain.fillers import mean_filler, noise_filler
from visionkit.explain.fold_norms import folded
from visionkit.explain.local_occlusion import local_occlusion
from visionkit.explain.local_steps import chain, local_steps
from visionkit.explain.occlusion import class_probability_map, occlusion, starts
from visionkit.explain.targets import class_logits
from visionkit.models.build import classifier, localizer
from visionkit.models.build_segmenter import fcn

NARROW = (8, 8, 16, 16)


def stirred(model):
    """With norms that do something, and scores that differ with the picture."""
    torch.manual_seed(1)
    for inner in model.modules():
        if isinstance(inner, nn.Conv2d):
            nn.init.kaiming_normal_(inner.weight)
        if isinstance(inner, nn.BatchNorm2d):
            nn.init.uniform_(inner.weight, 0.5, 1.5)
            nn.init.normal_(inner.bias, 0, 0.3)
            nn.init.normal_(inner.running_mean, 0, 0.2)
            nn.init.uniform_(inner.running_var, 0.5, 2)
    return model.eval()


def steps_of(model, size, window, stride):
    return local_steps(model, size, window, *(starts(side, window, stride) for side in size))


def check_equal(model, size, window, stride, filler=mean_filler, batch_size=16):
    """All logits at all places, measured by how far covering moves them at all."""
    images = torch.randn(1, len(model.backbone.mean), *size)
    with unchanged(model):
        found = local_occlusion(model, images, window, stride, filler, batch_size)
    expected = occlusion(class_logits(model), images, window, stride, filler, batch_size)
    assert (found.tops, found.lefts, found.size) == (expected.tops, expected.lefts, expected.size)
    assert found.answers.shape == expected.answers.shape and found.answers.dtype == torch.float32
    atol = 1e-5 * float(expected.answers.abs().max())
    moved = (expected.answers - expected.whole).abs().amax(dim=-1)  # (rows, columns)
    assert moved.min() > 20 * atol, "each place changes the answer, or nothing is seen of a wrong one"
    torch.testing.assert_close(found.answers, expected.answers, rtol=0, atol=atol)
    torch.testing.assert_close(found.whole, expected.whole, rtol=0, atol=atol)


NETWORKS = {
    "resnet": lambda: basic_resnet(NARROW, (2, 1, 1, 1)),
    "vgg": vgg11_bn_narrow,
    "squeezenet": squeezenet1_1,  # no padding at first, pools that round up
    "squeezenet 1.0": squeezenet1_0,
    "densenet": lambda: DenseNet(growth=8, depths=(2, 2, 2, 2), width=8),
    "mobilenet": lambda: mobilenet_v2(width=0.25),
    "preact": preact_resnet20,
}


@pytest.mark.parametrize(
    ("name", "size", "window", "stride"),
    [
        ("resnet", (96, 128), 16, 12),
        ("resnet", (64, 80), 9, 9),
        ("resnet", (97, 83), 13, 11),  # sides that no stride divides
        ("vgg", (96, 96), 16, 16),
        ("squeezenet", (87, 94), 11, 10),
        ("squeezenet 1.0", (68, 96), 16, 16),
        ("densenet", (75, 89), 10, 10),
        ("mobilenet", (81, 96), 10, 10),
        ("preact", (32, 32), 6, 5),
    ],
)
def test_the_answers_of_the_whole_network(name, size, window, stride):
    model = stirred(classifier(NETWORKS[name](), 5, size=min(size)))
    assert steps_of(model, size, window, stride)
    check_equal(model, size, window, stride)


def test_fillers_batches_and_folded_norms():
    model = folded(stirred(classifier(NETWORKS["resnet"](), 5, size=64))).to(memory_format=torch.channels_last)
    assert steps_of(model, (96, 64), 16, 8)
    check_equal(model, (96, 64), 16, 8, noise_filler(3), batch_size=7)


def test_a_localizer():
    model = stirred(localizer(NETWORKS["resnet"](), 5, size=96))
    assert steps_of(model, (96, 96), 16, 16)
    check_equal(model, (96, 96), 16, 16)


def test_layers_that_write_over_their_input_leave_the_maps_of_the_image_alone():
    """Each step but the first, and what comes after them, begin with one."""
    model = stirred(classifier(NETWORKS["vgg"](), 5, size=96))
    for i, layer in enumerate(model.backbone.features):
        if i and isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            model.backbone.features[i] = Rectified(layer)
    check_equal(model, (96, 96), 16, 16, batch_size=5)


class Rectified(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, maps):
        return self.inner(maps.mul_(0.7).add_(0.1))


def test_the_deepest_steps_that_save():
    """A small square is followed far, a large one not at all, and crops are no longer than the map."""
    model = stirred(classifier(basic_resnet(NARROW, (2, 2, 2, 2)), 5, size=224))
    small, middle, large = (steps_of(model, (224, 224), side, side) for side in (8, 32, 224))
    assert len(small) > len(middle) > 0 and large == ()
    modules = chain(model.backbone)
    assert [step.first for step in small] == [0, *(step.end for step in small[:-1])]
    assert isinstance(modules[small[0].first], nn.Conv2d) and isinstance(modules[small[1].first], nn.MaxPool2d)
    first = middle[0]
    assert first.end == 3  # the norm and the ReLU go with the convolution of 7 x 7, stride 2
    assert first.rows.at[96] == (90, 45, 47, 66)  # cell 47 sees the pixels 91 ... 97, cell 65 127 ... 133
    assert first.rows.length == 44 and first.columns == first.rows


def test_crops_are_what_is_computed():
    """Not only the same answers: the first convolution sees the image once, then crops."""
    model = stirred(classifier(NETWORKS["resnet"](), 5, size=96))
    seen = []
    hook = model.backbone.conv1.register_forward_hook(lambda _module, given, _out: seen.append(given[0]))
    local_occlusion(model, torch.randn(1, 3, 96, 96), window=8, stride=8)
    hook.remove()
    whole, *crops = [maps.shape for maps in seen if not maps.is_meta]  # steps are found on the meta device
    assert whole == (1, 3, 96, 96)
    assert sum(crop[0] for crop in crops) == 144 and all(max(crop[2:]) <= 24 for crop in crops)


@pytest.mark.parametrize(
    ("build", "end"),
    [(lambda: se_resnet18(), 4), (lambda: basic_resnet(NARROW, norm="group"), 1)],
    ids=["gates", "group norms"],
)
def test_no_further_than_layers_that_see_the_whole_image(build, end):
    """The convolution before them sees little, and is all that is computed on crops."""
    model = stirred(classifier(build(), 5, size=64))
    assert all(step.end <= end for step in steps_of(model, (96, 96), 12, 12))
    check_equal(model, (96, 96), 12, 12)


def plain_is_used(monkeypatch, model):
    asked = []
    monkeypatch.setattr(tested, "occlusion", lambda scores, *rest: asked.append(rest))
    local_occlusion(model, torch.zeros(1, 3, 64, 64), 16, 16)
    return len(asked) == 1


def pyramid():
    return build_fpn(basic_resnet, norm="batch", names=("c2", "c3"), channels=8, hidden=8)


def test_the_whole_network_where_no_part_is_known(monkeypatch):
    """Pyramids, segmenters, and where the square is all that there is."""
    model = stirred(classifier(pyramid(), 5, size=64))
    assert steps_of(model, (64, 64), 16, 16) == () and plain_is_used(monkeypatch, model)
    assert steps_of(stirred(fcn(basic_resnet(NARROW), 5)), (64, 64), 16, 16) == ()
    chained = stirred(classifier(basic_resnet(NARROW), 5, size=64))
    assert steps_of(chained, (64, 64), 16, 16) and not plain_is_used(monkeypatch, chained)
    assert steps_of(chained, (64, 64), 64, 16) == ()


class Fixed(nn.Module):
    """A pool to a fixed size that is no module."""

    def forward(self, maps):
        return nn.functional.adaptive_avg_pool2d(maps, 12)


def test_pools_to_a_fixed_size_end_the_steps():
    for layer in (Fixed(), nn.AdaptiveAvgPool2d(12), nn.InstanceNorm2d(NARROW[0])):
        model = stirred(classifier(basic_resnet(NARROW), 5, size=64))
        model.backbone.maxpool = layer
        assert [step.end for step in steps_of(model, (96, 96), 12, 12)] == [3]
        check_equal(model, (96, 96), 12, 12)


def test_sentences():
    model = stirred(classifier(NETWORKS["resnet"](), 5, size=64))
    images = torch.zeros(1, 3, 64, 64)
    for settings, sentence in (
        ({"window": 65, "stride": 8}, "window=65 has to be at least 1"),
        ({"window": 8, "stride": 8, "precision": "fp16"}, "precision=fp16"),
        ({"window": 8, "stride": 8, "batch_size": 0}, "batch_size=0"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            local_occlusion(model, images, **settings)
    with pytest.raises(ConfigError, match="one image at a time, not at 2"):
        local_occlusion(model, torch.zeros(2, 3, 64, 64), window=8, stride=8)
    with pytest.raises(ConfigError, match="at least 32 x 32"):
        local_occlusion(model, torch.zeros(1, 3, 16, 64), window=8, stride=8)


def test_half_precision():
    model, images = stirred(classifier(NETWORKS["resnet"](), 5, size=64)), torch.randn(1, 3, 48, 48)
    expected = occlusion(class_logits(model), images, window=12, stride=12)
    found = local_occlusion(model, images, window=12, stride=12, precision="bf16")
    assert found.answers.dtype == torch.float32 and not torch.equal(found.answers, expected.answers)
    torch.testing.assert_close(found.answers, expected.answers, rtol=0.05, atol=0.05 * float(expected.answers.std()))


@pytest.mark.slow
def test_published_weights(weights_root, datasets_root):
    model = published_twins("resnet18", weights_root).ours
    images, labels = photographs(datasets_root, model, 1)
    fast = folded(model).to(memory_format=torch.channels_last)
    found, expected = (
        class_probability_map(one, labels[0]).answers
        for one in (local_occlusion(fast, images, 32, 32), occlusion(class_logits(model), images, 32, 32))
    )
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

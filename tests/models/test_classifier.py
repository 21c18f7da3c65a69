"""The classifier: golden loss, overfitting, auxiliary heads, prediction; every backbone takes it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visionkit.backbones.fpn import build_fpn
from visionkit.backbones.resnet import basic_resnet
from visionkit.data.collate import collate
from visionkit.errors import ConfigError
from visionkit.models.build import classifier
from visionkit.models.classifier import Classifier
from visionkit.models.pixels import Normalize
from visionkit.ops.center_crop import CenterCrop
from visionkit.structures import Sample, Truth

WIDTHS = (8, 8, 16, 16)


def batch(count=4, side=32, classes=3):
    rng = np.random.default_rng(0)
    none = np.zeros(0, np.int64)
    samples = []
    for i in range(count):
        truth = Truth(np.zeros((0, 4), np.float32), none, none.astype(bool), image_label=i % classes)
        image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        samples.append(Sample(image, truth, i, (side, side)))
    return collate(samples)


def small(num_classes=3, **settings):
    return classifier(basic_resnet(WIDTHS), num_classes, size=32, **settings)


def test_golden_loss_from_fixed_weights():
    model = small().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    losses = model(*batch())
    assert set(losses) == {"loss_class"}
    assert losses["loss_class"].item() == pytest.approx(1.14125, abs=2e-4)


def test_loss_is_torchs_cross_entropy_and_smoothing_too():
    data, targets = batch()
    for smoothing in (0.0, 0.1):
        model = small(label_smoothing=smoothing).eval()
        expected = F.cross_entropy(model.logits(data), targets.image_labels, label_smoothing=smoothing)
        torch.testing.assert_close(model(data, targets)["loss_class"], expected)


def test_learns_a_handful_of_pictures_by_heart():
    model = small()
    data, targets = batch(6)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(40):
        loss = sum(model(data, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert model.classify(data).argmax(dim=1).tolist() == targets.image_labels.tolist()
    assert model.training, "classify leaves the mode as it was"


def test_auxiliary_heads_are_in_the_loss_and_not_in_the_prediction():
    net = basic_resnet(WIDTHS)
    aux = nn.ModuleDict({"c2": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(8, 3))})
    model = Classifier(net, net.new_classifier(3), Normalize(), CenterCrop(32, 32), aux, 0.3).eval()
    data, targets = batch()
    losses = model(data, targets)
    expected = 0.3 * F.cross_entropy(aux["c2"](net(model.normalize(data), ("c2",))["c2"]), targets.image_labels)
    torch.testing.assert_close(losses["loss_aux"], expected)
    before = model.classify(data)
    nn.init.zeros_(aux["c2"][2].weight)
    torch.testing.assert_close(model.classify(data), before)


def test_detection_targets_are_refused():
    data, targets = batch()
    without = type(targets)(targets.boxes, targets.labels, targets.valid, targets.crowd)
    with pytest.raises(ValueError, match="image_labels"):
        small()(data, without)


def test_predict_takes_any_picture_and_gives_probabilities():
    model = small()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((20, 50), (90, 33), (32, 32))]
    found = model.predict(images)
    assert [f.probabilities.shape for f in found] == [(3,)] * 3
    for one in found:
        assert one.probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    alone = model.predict(images[1:2])[0].probabilities
    assert torch.equal(alone, found[1].probabilities)
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8"):
        model.predict([images[0].astype(np.float32)])


def test_a_gray_network_sees_gray_pictures():
    data, _ = batch()
    gray = Normalize((0.5,), (0.25,))(data)
    assert gray.shape == (4, 1, 32, 32)
    red, green, blue = data.pixels.float().unbind(1)
    expected = ((0.299 * red + 0.587 * green + 0.114 * blue) / 255 - 0.5) / 0.25
    torch.testing.assert_close(gray[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_a_pyramid_classifies_with_the_mean_of_its_levels_and_leaves_no_parameter_out():
    fpn = build_fpn(lambda weights, norm: basic_resnet(WIDTHS, norm=norm), norm="batch", channels=8, hidden=16)
    model = classifier(fpn, 3, size=64)
    data, targets = batch(2, 64)
    model(data, targets)["loss_class"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == [], "else data parallel training stops"
    model.eval()
    maps = fpn(model.normalize(data), fpn.region_stages)
    vectors = torch.stack([fpn.tail(fpn.pool(maps[name])) for name in ("p2", "p3", "p4", "p5")]).mean(dim=0)
    torch.testing.assert_close(model.logits(data), model.head.linear(vectors))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 16}, "size=16: ResNet takes images of at least 32 pixels a side; choose task.size=32 or more"),
        ({"size": 64, "short": 48}, "short=48 is less than the 64 pixels"),
        ({"size": 32, "short": 40.5}, "short=40.5: short has to be a whole number"),
        ({"size": "big"}, "size=big: size has to be a whole number"),
        ({"size": 32, "label_smoothing": 2}, "label_smoothing=2: label_smoothing has to be a number from 0 to 1"),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        classifier(basic_resnet(WIDTHS), 3, **settings)


def test_sizes_follow_from_the_network():
    net = basic_resnet(WIDTHS)
    assert classifier(net, 3).resize == CenterCrop(256, 224)
    assert classifier(net, 3, size=32).resize == CenterCrop(32, 32)

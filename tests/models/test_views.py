"""What a classifier is shown when it is tested, beside the same written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.functional import ten_crop

from visionkit.backbones.resnet import basic_resnet
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError
from visionkit.models.build import classifier
from visionkit.models.pixels import batch_of
from visionkit.models.views import CenterView, Dense, TenCrop, five_crops
from visionkit.ops.center_crop import CenterCrop
from visionkit.ops.resize import resize_image

SIZES = [(40, 61), (90, 41), (36, 36), (300, 30)]


def image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = classifier(basic_resnet((8, 8, 16, 16)), 5, size=32, short=36)
    with torch.no_grad():  # so that views differ by more than rounding
        made.head.linear.weight.mul_(20)
    return made


def tiny_vgg():
    """A VGG of 64 pixels a side in place of 224: windows of 2 x 2 cells."""
    torch.manual_seed(0)
    net = VGG((1, 1, 1, 1, 1), widths=(4, 4, 8, 8, 8), hidden=16)
    net.window, net.resolution = 2, 64
    net.classifier[0] = nn.Linear(8 * 2 * 2, 16)
    return net


@torch.inference_mode()
def logits(model, crop):
    """Of one picture at network size."""
    model.eval()
    return model.logits(batch_of(np.ascontiguousarray(crop), CenterCrop(min(crop.shape[:2]), min(crop.shape[:2]))))


@pytest.mark.parametrize("size", SIZES)
def test_the_center_is_what_predict_sees(model, size):
    picture = image(size)
    assert torch.equal(CenterView()(model, picture), model.predict([picture])[0].probabilities)


@pytest.mark.parametrize("size", SIZES[:3])
def test_ten_crops_are_torchvisions_and_their_probabilities_are_averaged(model, size):
    picture = image(size)
    whole = resize_image(picture, model.resize.shape(size))
    crops = ten_crop(torch.from_numpy(whole).permute(2, 0, 1), 32)
    expected = torch.stack([logits(model, crop.permute(1, 2, 0).numpy()).softmax(dim=1)[0] for crop in crops])
    found = TenCrop()(model, picture)
    torch.testing.assert_close(found, expected.mean(dim=0), atol=1e-5, rtol=1e-4)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    assert (expected.std(dim=0) > 1e-3).any(), "else every crop would do"


def test_the_fifth_crop_is_the_center_crop():
    for size in ((40, 61), (61, 40), (43, 43), (32, 37)):
        short = min(size)
        middle = five_crops(image(size), 32)[4]
        assert np.array_equal(middle, CenterCrop(short, 32)(image(size)))


def test_dense_is_the_mean_over_scales_and_mirror_images(model):
    picture = image((48, 70))
    model.eval()
    expected = []
    for short in (36, 50):
        whole = resize_image(picture, CenterCrop(short, 32).shape((48, 70)))
        for view in (whole, whole[:, ::-1]):
            pixels = torch.from_numpy(view.copy()).permute(2, 0, 1)[None]
            inputs = (pixels / 255 - model.normalize.mean) / model.normalize.std
            with torch.inference_mode():
                maps = model.backbone.tail_maps(model.backbone(inputs, ("c4",))["c4"])  # a residual tail takes any size
                expected.append(model.head.linear(maps.mean(dim=(2, 3))).softmax(dim=1)[0])
    found = Dense([36, 50])(model, picture)
    torch.testing.assert_close(found, torch.stack(expected).mean(dim=0), atol=1e-5, rtol=1e-4)
    one = Dense(flip=False)(model, picture)
    torch.testing.assert_close(one, expected[0], atol=1e-5, rtol=1e-4)


def test_dense_positions_of_a_vgg_are_crops_of_its_map():
    """Fully connected layers as convolutions: each position is the network on that window (VGG, sec. 3.2)."""
    model = classifier(tiny_vgg(), 3, size=64, short=64).eval()
    assert model.backbone.dense_exact
    picture = image((64, 128))
    net, side = model.backbone, model.backbone.dense_window
    batch = batch_of(picture, CenterCrop(64, 64))
    with torch.inference_mode():
        # Of one window: the same as the network on the whole picture.
        torch.testing.assert_close(model.dense_logits(batch), model.logits(batch))
        whole = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        region = net((whole / 255 - model.normalize.mean) / model.normalize.std, ("c5",))["c5"]  # (1, 8, 4, 8)
        starts = range(0, region.shape[3] - side + 1, net.dense_stride)
        each = [model.head(net.tail_maps(net.pool(region[..., k : k + side]))) for k in starts]
    assert len(each) == 3 and not torch.allclose(each[0], each[1])
    expected = torch.stack(each).mean(dim=0).softmax(dim=1)[0]
    torch.testing.assert_close(Dense(flip=False)(model, picture), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("views", [TenCrop(), Dense(), Dense([32, 48])])
def test_views_repeat_and_leave_the_mode_alone(model, views):
    model.train()
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    found = [views(model, image(SIZES[0])) for _ in range(2)]
    assert torch.equal(*found) and found[0].shape == (5,)
    assert model.training and all(torch.equal(statistics[name], value) for name, value in model.named_buffers())


@pytest.mark.parametrize("views", [TenCrop(), Dense()])
def test_a_sliver_needs_little_memory(model, views, monkeypatch):
    """A picture of 2 x 60000 pixels would be 36 x 1080000 at the size of the network."""
    shapes = []
    resize = resize_image

    def watched(picture, shape):
        shapes.append(shape)
        return resize(picture, shape)

    monkeypatch.setattr("visionkit.ops.center_crop.resize_image", watched)
    assert torch.isfinite(views(model, image((2, 60000)))).all()
    assert shapes == [(36, 288)]


@pytest.mark.parametrize("shorts", [[], [36.5], ["a"], [True], 36, "36"])
def test_scales_that_cannot_be(shorts):
    with pytest.raises(ConfigError, match=r"views.shorts=.*: a list of whole numbers"):
        Dense(shorts)


def test_a_scale_below_the_network_is_refused(model):
    with pytest.raises(ConfigError, match=r"views.shorts=\[48, 24\]: 24 is less than the 32 pixels"):
        Dense([48, 24])(model, image(SIZES[0]))

"""What a segmenter is shown when it is tested, beside the same written out; tiles beside the whole picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from visionkit.backbones.resnet import basic_resnet
from visionkit.errors import ConfigError
from visionkit.instantiate import build
from visionkit.models.build_segmenter import fcn
from visionkit.models.pixels import Normalize, batch_of
from visionkit.models.segment_views import MultiScale, SegmentViews, Tiles, Whole
from visionkit.models.segmenter import Segmenter, segmentation
from visionkit.models.tiles import blended_rows, spans
from visionkit.ops.keep_size import KeepSize
from visionkit.ops.resize import TestResize, resize_image
from visionkit.ops.upsample import resize_maps

SIZES = [(40, 61), (97, 33), (5, 7), (131, 150)]


def image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


class Pixels(nn.Module):
    """A backbone of one convolution over `side` pixels a side."""

    min_size = 1

    def __init__(self, side=1, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, side, padding=side // 2)

    def forward(self, images, names):
        return {"c0": self.conv(images)}


class AsTheyAre(nn.Module):
    """A decoder that has nothing to do: the maps are the scores."""

    stages, covering_tail, multiple, least, class_layers = ("c0",), True, 1, 1, ()

    def forward(self, maps, size):
        return maps["c0"]


def toy(side=1, resize=None):
    torch.manual_seed(0)
    model = Segmenter(Pixels(side), AsTheyAre(), Normalize(), resize or KeepSize(), 4)
    with torch.no_grad():
        model.backbone.conv.weight.mul_(3)
    return model


@pytest.fixture(scope="module")
def network():
    """Residual, of stride 32, with skips; its scores differ from class to class."""
    torch.manual_seed(0)
    model = fcn(basic_resnet((8, 8, 16, 16)), 5, stride=8)
    for layer in model.decoder.scores:
        nn.init.normal_(layer.weight, std=0.5)
    return model


def same(a, b, atol=1e-6):
    torch.testing.assert_close(a.scores, b.scores, atol=atol, rtol=0)
    assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "views", [Whole(), MultiScale([1], flip=False), Tiles(160, 64)], ids=lambda v: type(v).__name__
)
def test_one_look_at_the_whole_is_predict_bit_for_bit(network, views, size):
    found, expected = views(network, image(size)), network.predict([image(size)])[0]
    assert torch.equal(found.labels, expected.labels) and torch.equal(found.scores, expected.scores)
    assert found.labels.shape == size and isinstance(views, SegmentViews)


@pytest.mark.parametrize("resize", [KeepSize(), KeepSize(16), TestResize(48, 100, 8)])
def test_multi_scale_is_the_mean_of_the_probabilities(network, resize):
    network.resize = resize
    picture = image((60, 91))
    network.eval()
    expected = []
    for scale in (0.5, 1.25):
        height, width = resize.shape((60, 91))
        view = resize_image(picture, (round(height * scale), round(width * scale)))
        for flip in (False, True):
            seen = view[:, ::-1].copy() if flip else view
            with torch.inference_mode():
                scores = network.logits(batch_of(seen, KeepSize(resize.multiple)))[
                    :, :, : view.shape[0], : view.shape[1]
                ]
                found = resize_maps(scores, (60, 91)).softmax(dim=1)[0]
            expected.append(found.flip(2) if flip else found)
    same(MultiScale([0.5, 1.25])(network, picture), segmentation(torch.stack(expected).mean(dim=0)))
    same(MultiScale([0.5], flip=False)(network, picture), segmentation(expected[0]))
    assert (expected[0] - expected[1]).abs().max() > 1e-3, "else every view would do"
    network.resize = KeepSize()


def test_a_mirrored_picture_gives_the_mirrored_labels(network):
    picture = image((64, 96))
    found, mirrored = (MultiScale([1.0, 1.5])(network, p) for p in (picture, picture[:, ::-1].copy()))
    torch.testing.assert_close(found.scores, mirrored.scores.flip(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(200, 300), (131, 97), (96, 400), (97, 96), (33, 1000)])
@pytest.mark.parametrize("tiles", [Tiles(96, 0), Tiles(96, 33), Tiles(96, 64), Tiles(96, 40, 20), Tiles(96, 64, 7)])
def test_pixels_by_themselves_are_the_same_in_tiles(tiles, size):
    model, picture = toy(), image(size)
    same(tiles(model, picture), Whole()(model, picture))


@pytest.mark.parametrize("original", [(300, 420), (61, 90), (700, 330)])
def test_scores_of_a_resized_picture_come_back_to_the_size_of_the_file(original):
    model, picture = toy(resize=TestResize(150, 260)), image(original)
    found, whole = Tiles(96, 32)(model, picture), Whole()(model, picture)
    torch.testing.assert_close(found.scores, whole.scores, atol=1e-5, rtol=0)
    assert (found.labels != whole.labels).float().mean() < 1e-4 and found.labels.shape == original


def test_a_margin_of_half_the_receptive_field_makes_seams_vanish():
    model, picture = toy(side=17), image((200, 330))  # sees 8 pixels beyond its own
    whole = Whole()(model, picture)
    same(Tiles(96, 16, 8)(model, picture), whole, atol=1e-5)
    for tiles in (Tiles(96, 16, 7), Tiles(96, 16)):
        assert (tiles(model, picture).scores - whole.scores).abs().max() > 1e-3


def test_the_margin_is_a_quarter_of_the_overlap_unless_told():
    model, picture = toy(side=17), image((150, 200))
    same(Tiles(96, 64)(model, picture), Tiles(96, 64, 16)(model, picture), atol=0)
    assert not torch.equal(Tiles(96, 64)(model, picture).scores, Tiles(96, 64, 0)(model, picture).scores)


@pytest.mark.parametrize(("name", "kind"), [("whole", Whole), ("multi_scale", MultiScale), ("tiles", Tiles)])
def test_each_has_its_configuration(name, kind):
    file = Path(__file__).parents[2] / "configs" / "views" / f"{name}.yaml"
    assert build(yaml.safe_load(file.read_text())) == (kind([*kind().scales]) if kind is MultiScale else kind())


def test_tiles_of_a_network_lie_on_the_grid_of_the_whole(network):
    """Its cells are 32 pixels: only where they lie as in the whole picture does a large margin give the same scores."""
    torch.manual_seed(1)
    model = fcn(basic_resnet((4, 4, 4, 4)), 3, stride=32).eval()
    nn.init.normal_(model.decoder.scores[0].weight)
    picture = image((100, 1199))
    whole = Whole()(model, picture)
    found = Tiles(992, 960, 479)(model, picture)  # two tiles, of which the last begins at 224
    assert [span.start for span in spans(1199, 992, 960, 479)] == [0, 32, 64, 96, 128, 160, 192, 224]
    same(found, whole, atol=2e-5)


def test_equal_scores_have_no_seams(network):
    for layer in (model := toy()).backbone.children():
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.tensor([0.0, 1.0, 2.0, 1.0])
    found = Tiles(96, 50, 10)(model, image((211, 170)))
    expected = torch.tensor([0.0, 1.0, 2.0, 1.0]).softmax(dim=0)[2]
    assert (found.labels == 2).all() and (found.scores - expected).abs().max() < 1e-6


@pytest.mark.parametrize(("size", "tile", "overlap", "margin"), [((131, 170), 96, 32, 0), ((260, 97), 96, 64, 30)])
def test_bands_are_what_all_tiles_at_once_are(network, size, tile, overlap, margin):
    """Sums over the whole picture, weights divided out at the end."""
    picture = image(size)
    network.eval()
    down, across = (spans(side, tile, overlap, margin) for side in size)
    total, weight = torch.zeros(5, *size), torch.zeros(size)
    with torch.inference_mode():
        for y in down:
            for x in across:
                piece = np.ascontiguousarray(picture[y.start : y.stop, x.start : x.stop])
                counts = y.weights[:, None] * x.weights
                total[:, y.start : y.stop, x.start : x.stop] += counts * network.logits(batch_of(piece, KeepSize()))[0]
                weight[y.start : y.stop, x.start : x.stop] += counts
        bands = list(blended_rows(network, picture, tile, overlap, margin))
    assert len(down) > 1 and len(bands) == len(down) and max(band.shape[1] for band in bands) <= tile
    torch.testing.assert_close(torch.cat(bands, dim=1), total / weight, atol=1e-5, rtol=1e-5)
    same(Tiles(tile, overlap, margin)(network, picture), segmentation((total / weight).softmax(dim=0)), atol=1e-5)


@pytest.mark.parametrize("margin", [0, 5, 16, 20])
@pytest.mark.parametrize("overlap", [40, 64, 70])
@pytest.mark.parametrize("side", [1, 95, 96, 97, 100, 128, 129, 160, 161, 500, 1001])
def test_spans_cover_a_side_and_their_weights_sum_to_one(side, overlap, margin):
    pieces = spans(side, 102, overlap, margin)
    assert pieces[0].start == 0 and pieces[-1].stop == side and all(piece.start % 32 == 0 for piece in pieces)
    assert all(a.stop - b.start >= overlap for a, b in zip(pieces, pieces[1:], strict=False))
    assert all(len(piece.weights) == 102 for piece in pieces[:-1]) and len(pieces[-1].weights) > min(side, 102) - 32
    total = torch.zeros(side)
    for piece in pieces:
        total[piece.start : piece.stop] += piece.weights
    torch.testing.assert_close(total, torch.ones(side))
    for a, b in zip(pieces, pieces[1:], strict=False):
        assert margin == 0 or ((a.weights[-margin:] == 0).all() and (b.weights[:margin] == 0).all())
        assert (b.weights[: overlap // 2].diff() >= 0).all(), "falls towards the end"
    assert pieces[0].weights[0] == 1 and pieces[-1].weights[-1] == 1, "the picture's own ends count in full"


@pytest.mark.parametrize("views", [MultiScale([0.5, 1.0]), Tiles(96, 32)])
def test_views_repeat_and_leave_the_mode_alone(network, views):
    network.train()
    statistics = {name: value.clone() for name, value in network.named_buffers()}
    found = [views(network, image((131, 150))) for _ in range(2)]
    assert torch.equal(found[0].scores, found[1].scores) and torch.equal(found[0].labels, found[1].labels)
    assert network.training and all(torch.equal(statistics[name], value) for name, value in network.named_buffers())


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 130)])
def test_slivers(network, size):
    for views in (MultiScale([0.5, 2.0]), Tiles(96, 32)):
        found = views(network, image(size))
        assert found.labels.shape == size and torch.isfinite(found.scores).all()


@pytest.mark.parametrize("scales", [[], [0], [-1.0], ["a"], [True], 1.0, [float("nan")], [float("inf")]])
def test_scales_that_cannot_be(scales):
    with pytest.raises(ConfigError, match=r"views.scales=.*: a list of numbers above 0"):
        MultiScale(scales)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "views.size=0: a whole number of pixels, at least 1"),
        ({"size": 512.0}, "views.size=512.0: a whole"),
        ({"overlap": -1}, "views.overlap=-1: a whole"),
        ({"margin": True}, "views.margin=True: a whole"),
        (
            {"size": 128, "overlap": 128},
            "views.size=128 with views.overlap=128: a tile has to be at least 32 pixels larger",
        ),
        ({"size": 128, "overlap": 97}, "at least 32 pixels larger"),
        ({"overlap": 64, "margin": 33}, "views.margin=33 with views.overlap=64: the margins"),
    ],
)
def test_tiles_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        Tiles(**settings)
    with pytest.raises(ConfigError, match="views.flip=1"):
        MultiScale(flip=1)

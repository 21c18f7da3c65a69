"""Pictures of filters, maps and patches through a whole predictor, small and with random weights."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import ResNet
from visionkit.backbones.resnet_blocks import BasicBlock
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError, DataError
from visionkit.explain.layer_maps import layer_maps
from visionkit.explain.rectified import project
from visionkit.explain.seen import seen_by
from visionkit.models.build import classifier
from visionkit.network_images import at_network_size, denormalised, limits_of, normalised
from visionkit.patch_pictures import SHARE, patches
from visionkit.predictor import Predictor
from visionkit.unit_pictures import activations, filters
from visionkit.viz.filter_grid import around_gray
from visionkit.viz.patch_sheet import SIDE, cut

SIZE = 64


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(classifier(vgg11_bn_narrow(window=2), 3, size=SIZE, short=SIZE).eval(), ("a", "b", "c"), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(7):
        image = random.integers(0, 256, (50 + 9 * i, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"{i}.png"), image)
    return root


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[:, :, ::-1]


def test_network_images(predictor, folder):
    image = at_network_size(predictor.model, folder / "0.png")
    assert image.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(denormalised(predictor.model, normalised(predictor.model, [image]))[0], image)
    low, high = limits_of(predictor.model)
    black, white = (
        normalised(predictor.model, [np.full((SIZE, SIZE, 3), value, np.uint8)])[0, :, 0, 0] for value in (0, 255)
    )
    torch.testing.assert_close(low[:, 0, 0], black)
    torch.testing.assert_close(high[:, 0, 0], white)


@pytest.mark.parametrize("network", [lenet, vgg11_bn_narrow])
def test_filters(tmp_path, network):
    predictor = Predictor(classifier(network(), 3).eval(), ("a", "b", "c"), {})
    (path,) = filters(predictor, tmp_path)
    assert path.parent == tmp_path and read(path).size > 0
    (path,) = filters(predictor, tmp_path, layer="features.4" if network is vgg11_bn_narrow else None)
    assert read(path).size > 0


def test_activations(predictor, folder, tmp_path, monkeypatch):
    (path,) = activations(predictor, folder / "0.png", tmp_path, "c3", count=3)
    assert path == tmp_path / "activations_c3.png"
    (other,) = activations(predictor, folder / "0.png", tmp_path, "c3", channels=[1, 2, 60])
    assert read(other).shape == read(path).shape
    shown = []
    monkeypatch.setattr(
        "visionkit.unit_pictures.map_grid", lambda image, maps, chosen: shown.append((maps, chosen)) or image
    )
    activations(predictor, folder / "0.png", tmp_path, "c3", channels=[1, 2, 60])
    with torch.no_grad():
        image = normalised(predictor.model, [at_network_size(predictor.model, folder / "0.png")])
        expected = layer_maps(predictor.model, "c3", image)[0, [1, 2, 60]]
    np.testing.assert_allclose(shown[0][0], expected.numpy(), rtol=1e-5, atol=1e-6)
    assert shown[0][1] == [1, 2, 60]
    with pytest.raises(ConfigError, match=r"channel 64: layer=c3 has the channels 0 \.\.\. 63"):
        activations(predictor, folder / "0.png", tmp_path, "c3", channels=[64])


@pytest.mark.parametrize("layer", ["c3", "pool2", "features.8"])
def test_patches_are_the_pixels_that_decide(predictor, folder, tmp_path, layer):
    """The network's answer at the place is the value, and follows from the patch alone: all else may be noise."""
    paths = patches(predictor, folder, tmp_path, layer, channels=[5, 0, 11], top=4, batch_size=3)
    assert paths == [tmp_path / f"patches_{layer}.png"] and read(paths[0]).size > 0
    records = json.loads((tmp_path / f"patches_{layer}.json").read_text())
    assert [unit["unit"] for unit in records] == [5, 0, 11]
    model, seen = predictor.model, seen_by(predictor.model, layer, (SIZE, SIZE))
    checked = 0
    for unit in records:
        values = [patch["value"] for patch in unit["patches"]]
        assert values == sorted(values, reverse=True) and len({patch["file"] for patch in unit["patches"]}) == len(
            values
        )
        for patch in unit["patches"]:
            image = at_network_size(model, Path(patch["file"]))
            x1, y1, x2, y2 = patch["box"]
            assert (x2 - x1, y2 - y1) == seen.size
            noise = np.random.default_rng(1).integers(0, 256, image.shape, dtype=np.uint8)
            inside = (slice(max(y1, 0), y2), slice(max(x1, 0), x2))
            noise[inside] = image[inside]
            with torch.no_grad():
                maps = layer_maps(model, layer, normalised(model, [noise]))[0, unit["unit"]]
            assert float((maps - patch["value"]).abs().min()) < 1e-4
            checked += 1
    assert checked >= 6


def test_the_best_of_the_folder_whatever_the_batches(predictor, folder, tmp_path):
    patches(predictor, folder, tmp_path / "a", "c2", count=4, top=3, batch_size=1)
    patches(predictor, folder, tmp_path / "b", "c2", count=4, top=3, batch_size=5)
    one, other = (json.loads((tmp_path / name / "patches_c2.json").read_text()) for name in "ab")
    assert [[(p["file"], p["box"]) for p in unit["patches"]] for unit in one] == [
        [(p["file"], p["box"]) for p in unit["patches"]] for unit in other
    ]
    with torch.no_grad():
        images = [
            normalised(predictor.model, [at_network_size(predictor.model, path)]) for path in sorted(folder.iterdir())
        ]
        best = max(float(layer_maps(predictor.model, "c2", image)[0, one[0]["unit"]].max()) for image in images)
    assert one[0]["patches"][0]["value"] == pytest.approx(best, rel=1e-4)


def test_projections_stand_beside_their_patches(predictor, folder, tmp_path):
    (path,) = patches(predictor, folder, tmp_path, "c2", channels=[3], top=1, projected=True)
    (plain,) = patches(predictor, folder, tmp_path, "c2", channels=[3], top=1)
    wide, narrow = read(path), read(plain)
    assert path.name == "deconvnet_patches_c2.png" and wide.shape[1] > narrow.shape[1]
    (patch,) = json.loads((tmp_path / "deconvnet_patches_c2.json").read_text())[0]["patches"]
    image = cut(at_network_size(predictor.model, Path(patch["file"])), tuple(patch["box"]))
    factor = SIDE // max(image.shape[:2])
    large = image.repeat(factor, axis=0).repeat(factor, axis=1)
    spots = np.lib.stride_tricks.sliding_window_view(wide, large.shape)[:, :, 0]
    found = (spots == large).all(axis=(2, 3, 4))
    assert found.any(), "the patch is in the sheet, pixel by pixel"


def test_projections_are_those_of_the_unit_at_its_place(predictor, folder, tmp_path, monkeypatch):
    units = []
    monkeypatch.setattr(
        "visionkit.patch_pictures.patch_sheet", lambda found: units.extend(found) or np.zeros((8, 8, 3), np.uint8)
    )
    patches(predictor, folder, tmp_path, "c2", channels=[3], top=2, projected=True)
    model, seen = predictor.model, seen_by(predictor.model, "c2", (SIZE, SIZE))
    records = json.loads((tmp_path / "deconvnet_patches_c2.json").read_text())[0]["patches"]
    assert len(records) == len(units[0].projections) == 2
    for patch, shown in zip(records, units[0].projections, strict=True):
        image = normalised(model, [at_network_size(model, Path(patch["file"]))])
        with torch.no_grad():
            maps = layer_maps(model, "c2", image)[0, 3]
        y, x = divmod(int(maps.argmax()), maps.shape[1])
        assert list(seen.box(y, x)) == list(patch["box"])
        whole = project(model, "c2", image, 3, (y, x))[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(shown, around_gray(cut(whole, tuple(patch["box"]), fill=0), SHARE))
        assert len(np.unique(shown)) > 10


def test_fields_larger_than_the_image(folder, tmp_path):
    model = classifier(ResNet(BasicBlock, (2, 2, 2, 2), widths=(8, 8, 8, 8)), 3, size=SIZE, short=SIZE).eval()
    (path,) = patches(Predictor(model, ("a", "b", "c"), {}), folder, tmp_path, "c5", count=2, top=2, projected=True)
    records = json.loads((tmp_path / "deconvnet_patches_c5.json").read_text())
    x1, y1, x2, y2 = records[0]["patches"][0]["box"]
    assert (x2 - x1, y2 - y1) == (435, 435) and read(path).size > 0


def test_refused(predictor, folder, tmp_path):
    with pytest.raises(ConfigError, match="there is no layer 'c33'"):
        patches(predictor, folder, tmp_path, "c33")
    with pytest.raises(ConfigError, match="channel 64: layer=c3 has the channels"):
        patches(predictor, folder, tmp_path, "c3", channels=[0, 64])
    with pytest.raises(ConfigError, match="top=0"):
        patches(predictor, folder, tmp_path, "c3", top=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        patches(predictor, tmp_path / "empty", tmp_path, "c3")
    with pytest.raises(DataError, match="does not exist"):
        patches(predictor, tmp_path / "nowhere", tmp_path, "c3")
    assert not list(tmp_path.glob("*.png"))


def test_units_that_nothing_excites(predictor, folder, tmp_path):
    torch.manual_seed(0)
    model = classifier(vgg11_bn_narrow(window=2), 3, size=SIZE, short=SIZE).eval()
    torch.nn.init.constant_(model.backbone.features[1].bias, -100)
    dead = Predictor(model, ("a", "b", "c"), {})
    with pytest.raises(ConfigError, match="layer=c1: none of 7 pictures excites any of its units"):
        patches(dead, folder, tmp_path, "c1")
    (path,) = patches(dead, folder, tmp_path, "c1", channels=[2], projected=True)
    assert read(path).size > 0

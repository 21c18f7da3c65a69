"""Pictures of images made to order, through a whole predictor."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from visionkit.backbones.cifar_resnet import resnet20
from visionkit.backbones.lenet import lenet
from visionkit.backbones.resnet import resnet18
from visionkit.backbones.vgg import vgg11_bn_narrow
from visionkit.errors import ConfigError, DataError
from visionkit.explain.inversion import class_image, invert
from visionkit.explain.priors import FOR_CLASSES, FOR_LAYERS, Priors
from visionkit.explain.targets import class_probability, class_score
from visionkit.models.build import classifier
from visionkit.network_images import denormalised, limits_of, normalised
from visionkit.optimised_pictures import class_images, inversion, probes
from visionkit.predictor import Predictor

FEW = Priors(steps=4)


@pytest.fixture(scope="module", params=[resnet20, lenet])
def predictor(request) -> Predictor:
    torch.manual_seed(0)
    return Predictor(classifier(request.param(), 3).eval(), ("cat", "dog", "owl"), {})


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[:, :, ::-1]


def test_class_images(predictor, tmp_path):
    sheet, losses = class_images(predictor, tmp_path, [2, 0], FEW)
    assert (sheet.name, losses.name) == ("class_images.png", "class_images_losses.png")
    assert read(sheet).shape[1] > 2 * predictor.model.resize.size and read(losses).size > 0


def test_each_image_is_of_its_class(predictor, tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "visionkit.optimised_pictures.mosaic", lambda pictures, titles: shown.update(zip(titles, pictures, strict=True))
    )
    monkeypatch.setattr("visionkit.optimised_pictures.written", lambda sheet, path: path)
    class_images(predictor, tmp_path, [2, 0], FEW)
    for (title, picture), label in zip(shown.items(), (2, 0), strict=True):
        side = predictor.model.resize.size
        shape = (1, len(predictor.model.backbone.mean), side, side)
        expected = class_image(
            class_score(predictor.model, label), shape, FEW, limits_of(predictor.model), torch.device("cpu")
        )
        np.testing.assert_array_equal(picture, denormalised(predictor.model, expected.images)[0])
        assert title.startswith(predictor.names[label])


def test_inversion(predictor, tmp_path):
    picture = np.full((40, 50, 3), (200, 10, 30), np.uint8)
    sheet, losses = inversion(predictor, picture, tmp_path, priors=FEW)
    assert (sheet.name, losses.name) == ("inversion.png", "inversion_losses.png")
    side = predictor.model.resize.size
    assert (read(sheet) == (200, 10, 30)).all(axis=2).sum() >= side * side, "the picture is in it"


def test_layers_that_are_probed():
    assert probes(classifier(resnet18(), 3)) == ["c1", "c2", "c3", "c4", "c5"]
    assert probes(classifier(vgg11_bn_narrow(), 3)) == ["c1", "c2", "c3", "c4", "c5", "tail"]


def test_refused(tmp_path):
    predictor = Predictor(classifier(resnet20(), 3).eval(), ("cat", "dog", "owl"), {})
    with pytest.raises(ConfigError, match=r"class 3: the model has the classes 0 \.\.\. 2"):
        class_images(predictor, tmp_path, [0, 3], FEW)
    with pytest.raises(DataError, match="none.jpg does not exist"):
        inversion(predictor, tmp_path / "none.jpg", tmp_path)
    with pytest.raises(ConfigError, match="there is no layer 'c7'"):
        inversion(predictor, np.zeros((32, 32, 3), np.uint8), tmp_path, ["c7"])
    with pytest.raises(ConfigError, match="not of a Identity"):
        class_images(Predictor(torch.nn.Identity(), ("a",), {}), tmp_path, [0])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_trained_network(weights_root, datasets_root):
    """ResNet-18: a class becomes certain; a shallow layer gives back the photograph, a deep one less of it."""
    from visionkit.backbones.pretrained import load_weights

    model = classifier(resnet18(), 1000).eval()
    load_weights(model.backbone, str(weights_root / "resnet18_imagenet.pth"), model.head)
    made = class_image(class_score(model, 130), (1, 3, 224, 224), FOR_CLASSES, limits_of(model))
    assert float(class_probability(model, 130)(made.images).detach()) > 0.99
    photograph = sorted((datasets_root / "imagenet_samples").rglob("*grey_fox*"))[0]
    from visionkit.network_images import at_network_size

    image = normalised(model, [at_network_size(model, photograph)])
    found = {layer: invert(model, layer, image, FOR_LAYERS, limits_of(model)) for layer in ("c1", "c4")}
    far = {layer: float((one.images - image).norm() / image.norm()) for layer, one in found.items()}
    assert far["c1"] < 0.3 < far["c4"] and found["c1"].errors[0] < 0.2

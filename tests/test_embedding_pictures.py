"""A folder laid out in a plane, through a whole predictor."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from visionkit.backbones.cifar_resnet import resnet20
from visionkit.embedding_pictures import embedding
from visionkit.errors import ConfigError, DataError
from visionkit.models.build import classifier
from visionkit.predictor import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(classifier(resnet20(), 3).eval(), ("a", "b", "c"), {})


def fill(folder: Path, counts: dict[str, int]) -> Path:
    random = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            cv2.imwrite(str(folder / name / f"{i}.png"), random.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return folder


@pytest.mark.parametrize("counts", [{"dark": 6, "light": 5}, {"": 3}, {"": 1}])
def test_three_pictures_and_the_vectors(predictor, tmp_path, counts):
    source = fill(tmp_path / "pictures", counts)
    files = embedding(predictor, source, tmp_path / "out")
    assert [path.name for path in files] == ["embedding_pca.png", "embedding_tsne.png", "embedding_grid.png"]
    first = [path.read_bytes() for path in files]
    assert len(list((tmp_path / "out").glob("features_*.npz"))) == 1
    again = embedding(predictor, source, tmp_path / "out")
    assert [path.read_bytes() for path in again] == first, "the same each time"


def test_what_is_drawn(predictor, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "visionkit.embedding_pictures.plot_embedding",
        lambda points, picture, path, labels, names, title: drawn.setdefault(
            path.name, (points, picture, labels, names)
        ),
    )
    source = fill(tmp_path / "pictures", {"dark": 4, "light": 3})
    embedding(predictor, source, tmp_path / "out")
    points, picture, labels, names = drawn["embedding_pca.png"]
    assert points.shape == (7, 2) and len(np.unique(points, axis=0)) == 7
    assert labels == [0, 0, 0, 0, 1, 1, 1] and names == ["dark", "light"]
    for i, path in enumerate(sorted(source.rglob("*.png"))):
        np.testing.assert_array_equal(picture(i), cv2.imread(str(path))[:, :, ::-1])


def test_two_networks_share_a_folder(predictor, tmp_path):
    source = fill(tmp_path / "pictures", {"": 3})
    embedding(predictor, source, tmp_path / "out")
    torch.manual_seed(1)
    embedding(Predictor(classifier(resnet20(), 3).eval(), ("a", "b", "c"), {}), source, tmp_path / "out")


def test_refused(predictor, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        embedding(predictor, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ConfigError, match="is a Identity: the vectors compared here are a classifier's"):
        embedding(Predictor(torch.nn.Identity(), ("a",), {}), tmp_path / "empty", tmp_path / "out")

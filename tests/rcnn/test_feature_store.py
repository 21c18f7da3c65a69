"""The features' files: what is written comes back, an interrupted pass goes on, damage and a full disk are said."""

import shutil
from collections import namedtuple

import numpy as np
import pytest

from visionkit.errors import ConfigError, DataError
from visionkit.feature_store import FeatureStore, Layout

LAYOUT = Layout(np.array([0, 3, 3, 5]), np.array([0, 1, 1, 3]), channels=4, window_channels=6, dtype="float16")
ABOUT = {"digest": "abc", "top": 5}


def features(i: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(i)
    return (
        random.normal(size=([3, 0, 2][i], 4)).astype(np.float32),
        random.normal(size=([1, 0, 2][i], 6)).astype(np.float32),
    )


def full(folder) -> FeatureStore:
    store = FeatureStore.create(folder, LAYOUT, ABOUT)
    for i in (2, 0, 1):
        store.write(i, *features(i), (float(i), 1.0))
    return store


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_written_comes_back(tmp_path, dtype):
    layout = Layout(LAYOUT.offsets, LAYOUT.pair_offsets, 4, 6, dtype)
    store = FeatureStore.create(tmp_path / "a", layout, ABOUT)
    for i in range(3):
        store.write(i, *features(i), (2.5 * i, 10.0))
    again = FeatureStore(tmp_path / "a", layout)
    for i in range(3):
        vectors, windows = features(i)
        assert again.vectors(i).dtype == again.windows(i).dtype == np.float32
        np.testing.assert_allclose(again.vectors(i), vectors.astype(dtype), rtol=0)
        np.testing.assert_allclose(again.windows(i), windows.astype(dtype), rtol=0)
    assert again.mean_norms() == (7.5 / 5, 30 / 5)
    files = sum((tmp_path / "a" / name).stat().st_size for name in ("vectors.bin", "windows.bin", "images.bin"))
    assert files == layout.bytes


def test_an_interrupted_pass_goes_on(tmp_path):
    store = FeatureStore.create(tmp_path / "a", LAYOUT, ABOUT)
    assert store.missing() == [0, 1, 2]
    store.write(1, *features(1), (0, 0))
    again = FeatureStore.create(tmp_path / "a", LAYOUT, ABOUT)
    assert again.missing() == [0, 2]
    with pytest.raises(DataError, match="damaged"):
        again.vectors(0)


@pytest.mark.parametrize("name", ["vectors.bin", "windows.bin"])
def test_a_flipped_bit_and_a_short_file_are_noticed(tmp_path, name):
    store = full(tmp_path / "a")
    file = tmp_path / "a" / name
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(bytes(data))
    read = store.vectors if name == "vectors.bin" else store.windows
    read(0)
    with pytest.raises(DataError, match=rf"{name}: the features of image 2 are damaged: delete this folder"):
        read(2)
    file.write_bytes(bytes(data[:-8]))
    with pytest.raises(DataError, match="image 2 are damaged"):
        read(2)


def test_a_folder_of_something_else_is_refused(tmp_path):
    full(tmp_path / "a")
    with pytest.raises(DataError, match="holds other features than its name says"):
        FeatureStore.create(tmp_path / "a", LAYOUT, ABOUT | {"top": 6})


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 30, 1 << 30, 64 << 20))
    big = Layout(np.array([0, 10**6]), np.array([0, 0]), 4096, 0, "float16")
    with pytest.raises(ConfigError, match=r"features of 1 images take 8.19 GB, and .* has room for 0.00 MB"):
        FeatureStore.create(tmp_path / "a", big, ABOUT)
    assert not (tmp_path / "a" / "about.json").exists()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="features cannot be kept in"):
        FeatureStore.create(tmp_path / "file" / "a", LAYOUT, ABOUT)


def test_deleted_it_is_gone(tmp_path):
    full(tmp_path / "a").delete()
    assert not (tmp_path / "a").exists()

"""The file of probabilities: what is written comes back, and what is no such file is named."""

from dataclasses import replace

import numpy as np
import pytest

from visionkit.errors import DataError
from visionkit.evaluation.probabilities import Probabilities, read_probabilities, write_probabilities


def some(count=4):
    values = np.random.default_rng(0).dirichlet(np.ones(3), count).astype(np.float32)
    files = tuple(f"folder ä/{i}.png" for i in range(count))
    return Probabilities("a model", ("cat", "dog", "pig"), files, np.arange(count), np.arange(count) % 3, values)


@pytest.mark.parametrize("count", [0, 4])
def test_comes_back(tmp_path, count):
    written = some(count)
    write_probabilities(tmp_path / "new" / "p.npz", written)
    found = read_probabilities(tmp_path / "new" / "p.npz")
    assert (found.model, found.names, found.files) == (written.model, written.names, written.files)
    assert found.values.dtype == np.float32 and np.array_equal(found.values, written.values)
    assert found.ids.tolist() == written.ids.tolist() and found.labels.tolist() == written.labels.tolist()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.npz"]


def test_names_that_are_not_utf8(tmp_path):
    odd = replace(some(1), files=(b"odd \xff.png".decode("utf-8", "surrogateescape"),))
    write_probabilities(tmp_path / "p.npz", odd)
    assert read_probabilities(tmp_path / "p.npz").files == odd.files


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"values": np.full((4, 3), np.nan)}, "are not probabilities"),
        ({"values": np.full((4, 3), 0.5)}, "sum to 1"),
        ({"values": np.full((4, 2), 0.5)}, "do not fit together"),
        ({"values": np.full((3, 3), 1 / 3)}, "do not fit together"),
        ({"ids": np.arange(5)}, "do not fit together"),
        ({"labels": np.array([0, 1, 2, 3])}, "a label is outside of its 3 classes"),
        ({"labels": np.array([0, 1, 2, -1])}, "a label is outside of its 3 classes"),
    ],
)
def test_impossible_content(tmp_path, change, sentence):
    write_probabilities(tmp_path / "p.npz", replace(some(), **change))
    with pytest.raises(DataError, match=f"p.npz: .*{sentence}"):
        read_probabilities(tmp_path / "p.npz")


def test_other_files(tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(DataError, match=r"p.npz: cannot be read \(No such file"):
        read_probabilities(path)
    write_probabilities(path, some())
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="p.npz: is broken or no file of probabilities"):
            read_probabilities(path)
    np.savez(path, names=np.array(["a"]))
    with pytest.raises(DataError, match="p.npz: is no file of probabilities: model is not a file"):
        read_probabilities(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))  # an array alone, not an archive
    with pytest.raises(DataError, match="p.npz: is broken or no file of probabilities"):
        read_probabilities(path)

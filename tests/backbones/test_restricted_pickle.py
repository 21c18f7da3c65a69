"""Arrays come out of a pickle as numpy wrote them; nothing that a pickle names is ever called."""

import collections
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch

from visionkit.backbones.restricted_pickle import read_pickle
from visionkit.backbones.weights_file import read_weights
from visionkit.errors import ConfigError


def written(tmp_path, content, protocol=4):
    path = tmp_path / "model.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def arrays():
    rng = np.random.default_rng(0)
    plain = {
        "c": rng.normal(size=(2, 3, 4)).astype(np.float32),
        "fortran": np.asfortranarray(rng.normal(size=(3, 5))),
        "strided": rng.normal(size=(6, 4)).astype(np.float16)[::2],
        "big_endian": np.arange(5, dtype=">i4"),
        "bytes": np.arange(3, dtype=np.uint8),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 4), np.float32),
        "zero": np.array(2.5, np.float32),
    }
    return plain


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_what_was_written(tmp_path, protocol):
    content = {
        "model": OrderedDict(arrays()),
        "__author__": "somebody",
        "n": [1, 2.5, None, True, (b"\xff\x00", "é")],
        "scalar": np.float64(0.1),
    }
    found = read_pickle(written(tmp_path, content, protocol))
    assert found["n"] == content["n"] and found["__author__"] == "somebody" and found["scalar"] == 0.1
    for name, array in content["model"].items():
        other = found["model"][name]
        assert np.array_equal(other, array) and other.shape == array.shape, name
        assert other.dtype == array.dtype.newbyteorder("=") and other.flags.writeable


def test_a_file_of_python_2(tmp_path):
    """Bytes are short strings there, and numpy's core has its old name (by hand: nobody pickles so any more)."""
    data = struct.pack("<2f", 1.5, -2.0)
    content = (
        b"\x80\x02}U\x01w"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + data + b"tbs."
    )
    assert pickle.loads(content, encoding="latin1")["w"].tolist() == [1.5, -2.0]
    assert read_pickle(written(tmp_path, content))["w"].tolist() == [1.5, -2.0]


def test_weights_files_may_be_pickles(tmp_path):
    found = read_weights(written(tmp_path, {"model": {"w": np.ones((2, 2), np.float32)}, "__author__": "x"}))
    assert list(found) == ["w"] and torch.equal(found["w"], torch.ones(2, 2))


class Malice:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_of_the_system_is_refused_and_not_made(tmp_path, protocol):
    mark = tmp_path / "was_run"
    bad = {"model": {"w": np.ones(2)}, "x": Malice(os.system, f"touch {mark}")}
    path = written(tmp_path, bad, protocol)
    with pytest.raises(
        ConfigError, match=r"model.pkl is refused: it asks for \w+.system, and of a pickle only"
    ) as error:
        read_weights(path)
    assert "\n" not in str(error.value) and not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # the file is as malicious as it claims


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (eval, "builtins.eval"),
        (np.load, "numpy"),
        (collections.Counter, "collections.Counter"),
        (torch.ones(2), "torch._utils._rebuild_tensor_v2"),
        (Malice(getattr, "x", "join"), "builtins.getattr"),
        (np.array([{}], dtype=object), "the data type 'O8'"),
        (np.array(["text"]), "the data type 'U4'"),
        (np.zeros(2, dtype=[("a", "f4")]), "the data type 'V4'"),
    ],
)
def test_what_else_is_refused_is_named(tmp_path, content, named):
    with pytest.raises(ConfigError, match="is refused: it asks for .*" + named):
        read_pickle(written(tmp_path, {"x": content}, 4))


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
ARRAY = RECONSTRUCT + b"(K\x00K\x00K\x00tR(K\x01K\x02\x85"  # of shape (2,)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (RECONSTRUCT + b"}X\x08\x00\x00\x00__call__K\x01sb.", "a state for reconstruct"),  # attributes of ours
        (RECONSTRUCT + b".", "a function among its values"),
        (RECONSTRUCT + b"(K\x00K\x00K\x00tR.", "an array without contents"),
        (ARRAY + b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89C\x04aaaatb.", "4 bytes"),
        (ARRAY + b"K\x07\x89C\x04aaaatb.", "not one of plain numbers"),
        (b"Pname\n.", "an object outside"),
    ],
)  # fmt: skip
def test_pickles_made_by_hand(tmp_path, content, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_pickle(written(tmp_path, b"\x80\x03" + content))


def test_nothing_here_keeps_a_state_that_a_pickle_gives(tmp_path):
    path = written(tmp_path, b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aK\x01sb.")
    assert read_pickle(path) == {}


def test_shared_and_nested_contents(tmp_path):
    """Twice the list of twice the list ...: walked once each, or it would take 2^60 steps."""
    content = [np.ones(1)]
    for _ in range(60):
        content = [content, content]
    found = read_pickle(written(tmp_path, content))
    assert found[0] is found[1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04not a pickle", b"\x80\x04\x95", "cut"])
def test_damaged_and_cut_files(tmp_path, content):
    whole = pickle.dumps({"w": np.ones((100, 100))})
    with pytest.raises(ConfigError, match="no pickle of arrays, or was cut short or damaged"):
        read_pickle(written(tmp_path, whole[: len(whole) // 2] if content == "cut" else content))


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_pickle(tmp_path / "none.pkl")

import enum
import os
import random
import resource
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_toy import same

from visionkit.engine import checkpoint
from visionkit.engine.checkpoint import CheckpointWriteError
from visionkit.engine.plain import plain
from visionkit.errors import ConfigError


def state(value: float = 0.0) -> dict[str, Any]:
    return {"model": {"weight": torch.full((40, 50), value), "step": torch.tensor(3)}, "meta": {"names": ("a", "b")}}


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.pt", state(1.5))
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert loaded.pop("kind") == checkpoint.KIND and loaded.pop("version") == checkpoint.VERSION
    assert same(loaded, state(1.5))
    assert os.listdir(tmp_path) == ["a.pt"]


def test_data_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    checkpoint.save(tmp_path / "a.pt", state())
    assert order == ["fsync", "replace", "fsync"]  # the file, its name, the folder that holds the name


def test_a_flipped_bit_is_found_or_harmless(tmp_path: Path) -> None:
    """Some bytes are of no account (padding, time stamps); wherever it matters, the checksum notices."""
    path = tmp_path / "a.pt"
    checkpoint.save(path, state(2.0))
    good, data, draw, found = checkpoint.load(path), path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        broken = bytearray(data)
        broken[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        try:
            assert same(checkpoint.load(path), good)
        except ConfigError as error:
            assert str(path) in str(error)
            found += 1
    assert found > 120
    weight = data.index(torch.full((4,), 2.0).numpy().tobytes())
    broken = bytearray(data)
    broken[weight + 1000] ^= 1
    path.write_bytes(broken)
    with pytest.raises(ConfigError, match=r"a\.pt is damaged: the checksum of .*data.* does not match"):
        checkpoint.load(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, state())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ConfigError, match=r"a\.pt is not a checkpoint, or was cut short"):
        checkpoint.load(path)


class Unpickled:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(2)}, "not a checkpoint of this kit; weights of other origin"),
        (torch.zeros(2), "not a checkpoint of this kit"),
        ({"kind": checkpoint.KIND, "version": 1, "x": Path("a")}, "holds more than plain data"),
        ({"kind": checkpoint.KIND, "version": 1, "x": Unpickled()}, "holds more than plain data"),
        ({"kind": checkpoint.KIND, "version": 99}, "has format 99; this version reads up to 1"),
        ({"kind": checkpoint.KIND}, "has format None"),
    ],
)
def test_not_ours(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=message) as caught:
        checkpoint.load(tmp_path / "a.pt")
    assert "a.pt" in str(caught.value) and caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_missing_or_a_folder_or_a_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.pt does not exist"):
        checkpoint.load(tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="is not a file"):
        checkpoint.load(tmp_path)
    (tmp_path / "a.pt").write_text("lr: 0.1\n" * 100)
    with pytest.raises(ConfigError, match=r"a\.pt is not a checkpoint"):
        checkpoint.load(tmp_path / "a.pt")


@pytest.mark.parametrize("limit", [100, 5_000, 100_000])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, state(1.0))
    old = path.read_bytes()
    large = {"model": torch.zeros(300, 300)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # writing beyond fails, as on a full disk
    try:
        with pytest.raises(
            CheckpointWriteError, match=r"cannot write .*a\.pt: File too large; an older one is untouched"
        ):
            checkpoint.save(path, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old and os.listdir(tmp_path) == ["a.pt"]


def test_no_space_and_no_folder(tmp_path: Path) -> None:
    if Path("/dev/full").exists():
        os.symlink("/dev/full", tmp_path / ".a.pt.tmp")
        with pytest.raises(CheckpointWriteError, match="No space left on device"):
            checkpoint.save(tmp_path / "a.pt", state())
        assert os.listdir(tmp_path) == []
    with pytest.raises(CheckpointWriteError, match="No such file or directory"):
        checkpoint.save(tmp_path / "nowhere" / "a.pt", state())


def test_programming_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\.meta\.call\[1\] is a function"):
        checkpoint.save(tmp_path / "a.pt", {"meta": {"call": [1, lambda: 0]}})
    assert os.listdir(tmp_path) == []


class Colour(enum.IntEnum):
    RED = 1


@dataclass(frozen=True)
class Resize:
    short: int
    folder: Path


class Listlike(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        return [4, 5][index]

    def __len__(self) -> int:
        return 2


class Maplike(UserDict[str, Any]):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([1.5, 2.5]), torch.tensor([1.5, 2.5], dtype=torch.float64)),
        (np.array(["a", "b"]), ["a", "b"]),
        (Path("a/b"), "a/b"),
        (Colour.RED, 1),
        (Resize(320, Path("x")), {"short": 320, "folder": "x"}),
        (torch.Size([2, 3]), (2, 3)),
        (torch.device("cpu"), "cpu"),
        (torch.bfloat16, "torch.bfloat16"),
        (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[np.int32(1)]), {"a": [1]}),
        (Maplike(a=Listlike()), {"a": [4, 5]}),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, [2, (3,)]), (1, [2, (3,)])),
        (b"raw", b"raw"),
        ({}, {}),
    ],
)
def test_plain(tmp_path: Path, value: Any, expected: Any) -> None:
    assert same(plain(value), expected)
    checkpoint.save(tmp_path / "a.pt", {"value": value})
    assert same(checkpoint.load(tmp_path / "a.pt")["value"], expected)


def test_plain_takes_omegaconf() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create({"a": 1, "b": {"c": [1, 2], "d": "${a}"}, "e": None})
    assert isinstance(config, Mapping)
    assert same(plain(config), {"a": 1, "b": {"c": [1, 2], "d": 1}, "e": None})


def test_a_view_does_not_drag_its_storage_along(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.pt", {"few": torch.zeros(1_000_000)[:3]})
    assert (tmp_path / "a.pt").stat().st_size < 10_000

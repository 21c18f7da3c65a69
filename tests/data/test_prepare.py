"""From a server's archives to a tree on disk, twice and after an interruption; and the table of addresses."""

import functools
import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from visionkit.data.download import RemoteFile
from visionkit.data.official import OFFICIAL, OfficialSet
from visionkit.data.prepare import prepare
from visionkit.errors import ConfigError, DataError


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, OfficialSet]]]:
    """An address with two VOC-like archives, and the table that describes them under an address that is not there."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = tmp_path / "served"
    served.mkdir()
    remotes = []
    for number, split in enumerate(("trainval", "test")):
        with tarfile.open(served / f"{split}.tar", "w") as packed:
            info = tarfile.TarInfo(f"VOCdevkit/VOC2007/Annotations/{number}.xml")
            info.size = 3
            packed.addfile(info, io.BytesIO(b"<a>"))
        content = (served / f"{split}.tar").read_bytes()
        checksum = "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()
        remotes.append(RemoteFile(f"http://127.0.0.1:9/{split}.tar", len(content), checksum))
    handler = functools.partial(_Quiet, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", {"voc07": OfficialSet("VOCdevkit", tuple(remotes), strip=1)}
        running.shutdown()
        thread.join()


def tree(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_prepares_once(tmp_path: Path, mirror: tuple[str, dict[str, OfficialSet]]) -> None:
    address, table = mirror
    root = tmp_path / "datasets"
    folder = prepare("voc07", root, address, official=table)
    expected = {
        "VOC2007/Annotations/0.xml",
        "VOC2007/Annotations/1.xml",
        ".trainval.tar.unpacked",
        ".test.tar.unpacked",
    }
    assert folder == root / "VOCdevkit" and tree(folder) == expected
    assert not (folder / ".downloads").exists()
    assert prepare("voc07", root, "http://127.0.0.1:9", official=table) == folder  # needs no server any more


def test_an_interrupted_preparation_goes_on(tmp_path: Path, mirror: tuple[str, dict[str, OfficialSet]]) -> None:
    address, table = mirror
    (tmp_path / "served" / "test.tar").rename(tmp_path / "hidden.tar")
    with pytest.raises(DataError, match=r"test\.tar: HTTP 404"):
        prepare("voc07", tmp_path, address, official=table)
    (tmp_path / "VOCdevkit/VOC2007/Annotations/0.xml").unlink()  # so that a second unpacking would show
    (tmp_path / "hidden.tar").rename(tmp_path / "served" / "test.tar")
    folder = prepare("voc07", tmp_path, address, keep_archives=True, official=table)
    assert {p.name for p in (folder / "VOC2007/Annotations").iterdir()} == {"1.xml"}
    assert (folder / ".downloads" / "test.tar").exists()


def test_datasets_variable_is_the_default_root(
    tmp_path: Path, mirror: tuple[str, dict[str, OfficialSet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path / "elsewhere"))
    assert prepare("voc07", mirror=mirror[0], official=mirror[1]) == tmp_path / "elsewhere" / "VOCdevkit"


def test_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data=vok07.*voc07"):
        prepare("vok07", tmp_path)


def test_the_tool_takes_data_as_a_plain_key() -> None:
    """Beside configs/data, Hydra would take `data=voc12` for a file of that group, which there is not."""
    from visionkit.config import CONFIGS, compose

    config = compose("prepare_data", ["data=voc12", "keep_archives=true"], CONFIGS / "prepare")
    assert config is not None and (config.data, config.output, config.keep_archives) == ("voc12", None, True)


def test_the_table_of_official_addresses() -> None:
    files = {file.url: file for wanted in OFFICIAL.values() for file in wanted.files}.values()
    assert {"voc07", "voc12", "coco", "mnist", "fashion_mnist", "cifar10", "cifar100"} <= set(OFFICIAL)
    for file in files:
        kind, _, digest = file.checksum.partition(":")
        assert kind == "md5" and len(digest) == 32 and set(digest) <= set("0123456789abcdef")
        assert file.name.endswith((".zip", ".tar", ".gz")) and file.size > 4000
    assert len({file.checksum for file in files}) == len(files) == 16
    folders = [wanted.folder for name, wanted in OFFICIAL.items() if name not in ("voc12", "coco17")]
    assert len(set(folders)) == len(folders), "two data sets with files of the same names would overwrite each other"


def test_checksums_are_torchvisions() -> None:
    from torchvision.datasets import MNIST, FashionMNIST

    for name, theirs in (("mnist", MNIST), ("fashion_mnist", FashionMNIST)):
        ours = {file.name: file.checksum.removeprefix("md5:") for file in OFFICIAL[name].files}
        assert ours == dict(theirs.resources)
        assert OFFICIAL[name].files[0].url.rsplit("/", 1)[0] + "/" in theirs.mirrors


def test_files_that_are_no_archives_stay_as_they_are(
    tmp_path: Path, mirror: tuple[str, dict[str, OfficialSet]]
) -> None:
    """MNIST's: fetched once, checked, put where the reader looks, and fetched again when one is gone."""
    address, table = mirror
    content = gzip.compress(b"pixels")
    (tmp_path / "served" / "a-ubyte.gz").write_bytes(content)
    checksum = "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()
    remote = RemoteFile("http://127.0.0.1:9/a-ubyte.gz", len(content), checksum)
    table = {"mnist": OfficialSet("mnist", (remote,), unpack=False)}
    for _ in range(2):
        folder = prepare("mnist", tmp_path, address, official=table)
        assert tree(folder) == {"a-ubyte.gz"} and (folder / "a-ubyte.gz").read_bytes() == content
        (folder / "a-ubyte.gz").unlink()
    (tmp_path / "served" / "a-ubyte.gz").write_bytes(content[:-1] + b"x")
    with pytest.raises(DataError, match="md5"):
        prepare("mnist", tmp_path, address, official=table)
    assert tree(folder) == set()


def test_cifar_lands_where_its_reader_looks(tmp_path: Path, mirror: tuple[str, dict[str, OfficialSet]]) -> None:
    """A .tar.gz whose folder is left off."""
    from visionkit.data.cifar_binary import cifar10

    with tarfile.open(tmp_path / "served" / "cifar-10-binary.tar.gz", "w:gz") as packed:
        batches = {f"{name}.bin": bytes(2 * 3073) for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")}
        for name, content in {**batches, "batches.meta.txt": b"airplane\n"}.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    content = (tmp_path / "served" / "cifar-10-binary.tar.gz").read_bytes()
    checksum = "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()
    real = OFFICIAL["cifar10"]
    table = {"cifar10": replace(real, files=(replace(real.files[0], size=len(content), checksum=checksum),))}
    folder = prepare("cifar10", tmp_path, mirror[0], official=table)
    assert len(cifar10(str(folder)).train) == 10

"""Unpacking: what is in the archive and nothing outside the folder."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from visionkit.data.archives import extract
from visionkit.errors import DataError


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w", **special: tarfile.TarInfo) -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
        for info in special.values():
            packed.addfile(info)
    return path


def make_zip(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(info, target)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.zip", "")])
def test_unpacks_beside_what_is_there(tmp_path: Path, name: str, mode: str) -> None:
    members = {"VOCdevkit/VOC2007/JPEGImages/1.jpg": b"one", "VOCdevkit/VOC2007/a.txt": b"", "VOCdevkit/b.txt": b"new"}
    make = (lambda: make_tar(tmp_path / name, members, mode)) if mode else (lambda: make_zip(tmp_path / name, members))
    out = tmp_path / "out"
    (out / "VOC2007").mkdir(parents=True)
    (out / "VOC2007" / "kept.txt").write_bytes(b"kept")
    (out / "b.txt").write_bytes(b"old")
    extract(make(), out, strip=1)
    assert files(out) == {
        "VOC2007/JPEGImages/1.jpg": b"one",
        "VOC2007/a.txt": b"",
        "VOC2007/kept.txt": b"kept",
        "b.txt": b"new",
    }


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:evil.txt", "C:\\evil.txt"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_outside_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    members = {"good.txt": b"good", name: b"evil"}
    archive = (make_tar if kind == "tar" else make_zip)(tmp_path / f"a.{kind}", members)
    with pytest.raises(DataError, match="would land outside") as caught:
        extract(archive, tmp_path / "in" / "out")
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "in") == {} and not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_special_files_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("door")
    info.type, info.linkname = kind, "/etc/passwd"
    archive = make_tar(tmp_path / "a.tar", {"good.txt": b"good"}, door=info)
    with pytest.raises(DataError, match="'door' is a link or a special file"):
        extract(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {}


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"good.txt": b"good"}, links={"door": "../../etc"})
    with pytest.raises(DataError, match="'door' is a link"):
        extract(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_broken_archive_leaves_nothing(tmp_path: Path, name: str) -> None:
    content = {f"{i}.txt": bytes(range(256)) * 200 for i in range(4)}
    archive = (
        make_zip(tmp_path / name, content)
        if name == "a.zip"
        else make_tar(tmp_path / name, content, "w:gz" if "gz" in name else "w")
    )
    data = bytearray(archive.read_bytes())
    if name == "a.zip":
        data[60:70] = b"0123456789"  # inside the first member's compressed bytes
    else:
        data = data[: len(data) // 2]
    archive.write_bytes(data)
    with pytest.raises(DataError, match="a\\."):
        extract(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {} and not list((tmp_path / "out").iterdir())


def test_what_is_no_archive_and_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        extract(tmp_path / "page.zip", tmp_path / "out")
    with pytest.raises(DataError, match="gone.tar"):
        extract(tmp_path / "gone.tar", tmp_path / "out")


def test_too_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3})())
    with pytest.raises(DataError, match="unpacking needs"):
        extract(make_tar(tmp_path / "a.tar", {"a": b"four"}), tmp_path / "out")
    assert files(tmp_path / "out") == {}


def test_an_empty_archive(tmp_path: Path) -> None:
    extract(make_tar(tmp_path / "a.tar", {}), tmp_path / "out")
    assert files(tmp_path / "out") == {}

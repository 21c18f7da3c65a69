"""Tar shards: written, indexed, read; found where they lie; and what is wrong with them."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from visionkit.data.array_pictures import ArrayPictures
from visionkit.data.classification import labelled_sample
from visionkit.data.folders import folder, read_folders
from visionkit.data.labelled import LabelledIndex
from visionkit.data.shard_index import INDEX
from visionkit.data.shard_names import expand_braces, find_shards
from visionkit.data.tar_pictures import TarPictures
from visionkit.data.tar_scan import Shard
from visionkit.data.tar_shards import join_shards, read_shards, shards
from visionkit.data.write_shards import write_shards
from visionkit.errors import ConfigError, DataError

CLASSES = ("ant", "bee", "cat")


def picture(seed, kind="PNG"):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (9 + seed % 3, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write_tar(path, members, mode="w", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, **options) as packed:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


def pair(i, label=None, kind="png"):
    return [(f"{i:04d}.{kind}", picture(i)), (f"{i:04d}.cls", str(i % 3 if label is None else label).encode())]


@pytest.fixture
def tree(tmp_path):
    """Class folders of 7 + 3 pictures, of two formats and with a name that is no letters."""
    for split, count in (("train", 7), ("val", 3)):
        for k, name in enumerate(CLASSES):
            (tmp_path / "tree" / split / name).mkdir(parents=True)
            for i in range(count):
                suffix, kind = (".JPG", "JPEG") if i % 2 else (".png", "PNG")
                (tmp_path / "tree" / split / name / f"pic ü.{i}{suffix}").write_bytes(picture(100 * k + i, kind))
    return tmp_path / "tree"


@pytest.fixture
def sharded(tree, tmp_path):
    for split in ("train", "val"):
        write_shards(read_folders(tree / split), tmp_path / "shards" / split, 4, shuffle=False)
    return tmp_path / "shards"


def test_shards_hold_the_same_pictures_as_the_folder(tree, sharded):
    ours, theirs = shards(str(sharded)), folder(str(tree))
    assert ours.names == theirs.names == CLASSES
    for split in ("train", "val"):
        one, other = getattr(ours, split), getattr(theirs, split)
        assert np.array_equal(one.labels, other.labels) and len(one) == len(other)
        for i in range(len(one)):
            assert one.pictures.encoded(i) == other.pictures.encoded(i), "the file's own bytes"
            assert np.array_equal(labelled_sample(one, i).image, labelled_sample(other, i).image)
    assert sorted(p.name for p in (sharded / "train").iterdir()) == [
        INDEX, *(f"{k:06d}.tar" for k in range(6)), "classes.txt"
    ]  # fmt: skip
    assert ours.train.blocks.tolist() == [k // 4 for k in range(21)]
    assert ours.train.path(6) == f"{sharded}/train/000001.tar/00000006.png"
    assert ours.train.select(np.array([13, 6])).path(0) == f"{sharded}/train/000003.tar/00000013.png"
    assert shards(str(sharded), order="all").train.blocks is None


def test_webdataset_reads_what_is_written(sharded):
    """Members of one key stand side by side, the key without dots: what its readers rely on."""
    with tarfile.open(sharded / "train/000001.tar") as packed:
        names = packed.getnames()
        assert [name.partition(".") for name in names[:4]] == [
            ("00000004", ".", "png"), ("00000004", ".", "cls"), ("00000005", ".", "jpg"), ("00000005", ".", "cls"),
        ]  # fmt: skip
        assert packed.extractfile("00000007.cls").read() == b"1"


def test_the_same_pictures_give_the_same_bytes_and_another_seed_another_order(tree, tmp_path):
    index = read_folders(tree / "train")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_shards(index, tmp_path / name, 8, shuffle=True, seed=seed)
    content = {name: [(tmp_path / name / f"{k:06d}.tar").read_bytes() for k in range(3)] for name in "abc"}
    assert content["a"] == content["b"] != content["c"]
    found = read_shards(find_shards(tmp_path, "a"), None, tmp_path, True)
    assert sorted(found.pictures.encoded(i) for i in range(21)) == sorted(index.pictures.encoded(i) for i in range(21))
    assert found.labels.tolist() != sorted(found.labels.tolist()) and found.class_counts().tolist() == [7, 7, 7]


def test_arrays_and_cut_outs_are_written_as_png(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)
    index = LabelledIndex(
        CLASSES, "memory", [], ArrayPictures.join([pixels], ["memory"]), np.array([2, 0, 1], np.int32)
    )
    write_shards(index, tmp_path / "arrays", 10, shuffle=False)
    found = read_shards(find_shards(tmp_path, "arrays"), None, tmp_path, False)
    assert all(np.array_equal(found.pictures.read(i), pixels[i]) for i in range(3))
    assert found.labels.tolist() == [2, 0, 1] and found.path(0).endswith(".png")


def test_an_interrupted_writing_leaves_nothing(tree, tmp_path):
    index = read_folders(tree / "train")
    (tree / "train" / "cat" / "pic ü.5.JPG").unlink()
    with pytest.raises(DataError, match=r"pic ü\.5\.JPG does not exist"):
        write_shards(index, tmp_path / "new" / "shards", 4, shuffle=False)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("size", [0, -1, True, 2.0, None])
def test_shard_sizes_that_are_none(tree, tmp_path, size):
    with pytest.raises(ConfigError, match=f"shard_size={size}"):
        write_shards(read_folders(tree / "train"), tmp_path / "x", size, shuffle=False)


def test_what_is_there_is_not_overwritten(sharded, tree):
    with pytest.raises(DataError, match="train exists and is not empty"):
        write_shards(read_folders(tree / "train"), sharded / "train", 4, shuffle=False)


# The layout


def test_other_peoples_shards(tmp_path):
    """Folders in keys, capital suffixes, classes in JSON as number and as name, captions, hidden members."""
    described = [
        ("x/0007.JPEG", picture(7, "JPEG")),
        ("x/0007.json", json.dumps({"label": 2, "text": "."}).encode()),
        ("y/0007.webp", picture(8, "WEBP")),
        ("y/0007.json", json.dumps({"label": "bee"}).encode()),
        ("x/0008.cls", b" 1\n"),
        ("x/0008.json", json.dumps({"label": 2}).encode()),
        ("x/0008.png", picture(9)),
        ("x/0008.txt", b"a caption"),
        (".hidden.png", b"-"),
        ("x/0008.seg.png", picture(3)),
        ("info.json", b"{}"),
    ]
    write_tar(tmp_path / "train" / "a.tar", described, format=tarfile.PAX_FORMAT)
    index = read_shards(find_shards(tmp_path, "train"), CLASSES, tmp_path, True)
    assert index.labels.tolist() == [2, 1, 1]
    assert [index.path(i).rpartition("a.tar/")[2] for i in range(3)] == ["x/0007.JPEG", "y/0007.webp", "x/0008.png"]
    assert "3 members are neither picture nor class, such as 'x/0008.txt'" in index.report[0]
    again = read_shards(find_shards(tmp_path, "train"), CLASSES, tmp_path, True)
    assert again.report == index.report, "what was left out is told each time"


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names(tmp_path, form):
    directory = "d" * 60 + "/" + "e" * 60
    write_tar(tmp_path / "a.tar", [(f"{directory}/{i}.{kind}", content) for i in range(2)
                                   for kind, content in (("png", picture(i)), ("cls", b"2"))], format=form)  # fmt: skip
    index = read_shards([tmp_path / "a.tar"], CLASSES, tmp_path, True)
    assert all(np.array_equal(index.pictures.read(i), np.asarray(Image.open(io.BytesIO(picture(i))))) for i in range(2))
    if form == tarfile.USTAR_FORMAT:
        assert index.path(1) == f"{tmp_path}/a.tar/{directory}/1.png"


BAD = {
    "no class": ([*pair(0), ("0001.png", picture(1))], "a.tar: member '0001.png' has no class: neither 0001.cls"),
    "json without a label": ([("1.png", b""), ("1.json", b"{}")], "member '1.png' has no class"),
    "no picture": ([*pair(0), ("0001.cls", b"1")], "a.tar: member '0001.cls' has no picture beside it"),
    "two pictures": ([*pair(0), ("0000.jpg", b"")], "'0000.png' and '0000.jpg' are two pictures of one key"),
    "outside": ([*pair(0), *pair(1, 3)], "a.tar: member '0001.cls': the class 3 is outside the list of 3 classes"),
    "not a number": (pair(0, "bee"), "member '0000.cls' holds 'bee', not the number of a class"),
    "negative": (pair(0, -1), "member '0000.cls' holds '-1'"),
    "json outside": ([("1.png", b""), ("1.json", b'{"label": 3}')], "'1.json': the class 3 is outside"),
    "json of another name": ([("1.png", b""), ("1.json", b'{"label": "dog"}')], "the label 'dog' is none of the 3"),
    "json truth": ([("1.png", b""), ("1.json", b'{"label": true}')], "the label True is none"),
    "broken json": ([("1.png", b""), ("1.json", b"{")], "'1.json' is not valid JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_members_are_named(tmp_path, case):
    members, sentence = BAD[case]
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DataError) as caught:
        read_shards([tmp_path / "a.tar"], CLASSES, tmp_path, True)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / INDEX).exists()


def test_every_cut_is_found(tmp_path):
    """Wherever a tar file ends early, in a picture, between members or in a header, it says so."""
    whole = write_tar(tmp_path / "whole.tar", [*pair(0), *pair(1)], format=tarfile.USTAR_FORMAT).read_bytes()
    used = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for length in [0, 1, *range(100, used + 1, 100), used]:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.tar is no whole tar file") as caught:
            read_shards([tmp_path / "cut.tar"], CLASSES, tmp_path, True)
        assert "\n" not in str(caught.value)
    assert "0001.cls" in str(caught.value)
    assert len(read_shards([tmp_path / "whole.tar"], CLASSES, tmp_path, True)) == 2


def test_a_damaged_header_is_no_end(tmp_path):
    content = bytearray(write_tar(tmp_path / "a.tar", [*pair(0), *pair(1)], format=tarfile.USTAR_FORMAT).read_bytes())
    content[content.index(b"0001.png")] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar is no whole tar file: .*after the member '0000\.cls'"):
        read_shards([tmp_path / "a.tar"], CLASSES, tmp_path, True)


@pytest.mark.parametrize("name", ["PK12", "BZ001", "(\\xb5"])
def test_a_first_name_that_looks_like_an_archive_is_a_name(tmp_path, name):
    write_tar(tmp_path / "a.tar", [(f"{name}.png", picture(0)), (f"{name}.cls", b"1")])
    assert len(read_shards([tmp_path / "a.tar"], CLASSES, tmp_path, True)) == 1


@pytest.mark.parametrize(("mode", "kind"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_compressed_tars_are_refused(tmp_path, mode, kind):
    write_tar(tmp_path / "a.tar", pair(0), mode)
    with pytest.raises(DataError, match=rf"a\.tar is compressed \({kind}\)"):
        read_shards([tmp_path / "a.tar"], CLASSES, tmp_path, True)
    (tmp_path / "train").mkdir()
    (tmp_path / "a.tar").rename(tmp_path / "train" / f"a.tar.{mode[2:]}")
    with pytest.raises(DataError, match="is compressed"):
        find_shards(tmp_path, "train")


# Reading


def test_a_broken_picture_and_a_vanished_shard_are_named(tmp_path):
    members = [*pair(0), ("0001.png", picture(1)[:60]), ("0001.cls", b"1")]
    index = read_shards([write_tar(tmp_path / "a.tar", members)], CLASSES, tmp_path, True)
    with pytest.raises(DataError, match=r"image .*/a\.tar/0001\.png cannot be read"):
        labelled_sample(index, 1)
    os.truncate(tmp_path / "a.tar", 600)
    with pytest.raises(DataError, match=r"a\.tar/0000\.png cannot be read: the tar file has become shorter"):
        labelled_sample(index, 0)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(DataError, match=r"a\.tar cannot be read: No such file"):
        labelled_sample(index, 0)


def test_a_shard_is_walked_over_once_and_again_when_it_has_changed(sharded, monkeypatch):
    from visionkit.data import shard_index

    walked = []
    scan = shard_index.scan_shard
    monkeypatch.setattr(shard_index, "scan_shard", lambda path, names: walked.append(path.name) or scan(path, names))
    first = shards(str(sharded))
    assert len(walked) == 6 + 3
    walked.clear()
    again = shards(str(sharded))
    assert walked == []
    for field in ("shard", "offset", "length"):
        assert np.array_equal(getattr(again.train.pictures, field), getattr(first.train.pictures, field))
    assert np.array_equal(again.train.labels, first.train.labels)
    (sharded / "train/000001.tar").unlink()
    write_tar(sharded / "train/000002.tar", [*pair(0), *pair(1)])
    changed = shards(str(sharded))
    assert walked == ["000002.tar"] and len(changed.train) == 21 - 4 - 2
    walked.clear()
    os.utime(sharded / "val/000000.tar", ns=(1, 1))
    shards(str(sharded))
    assert walked == ["000000.tar"]
    walked.clear()
    (sharded / "val/classes.txt").write_text("ant\nbee\ncat\ndog\n")
    shards(str(sharded))
    assert len(walked) == 3, "classes that are known by another list are looked up again"
    for broken in (b"", b"PK\3\4 rubbish", (sharded / "val" / INDEX).read_bytes()[:-200]):
        (sharded / "val" / INDEX).write_bytes(broken)
        walked.clear()
        shards(str(sharded))
        assert len(walked) == 3
    assert [p.name for p in sharded.rglob(f"{INDEX}.*")] == [], "no temporary file stays"


def test_a_folder_that_cannot_be_written(sharded, monkeypatch):
    from visionkit.data import shard_index

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shard_index.tempfile, "mkstemp", refuse)
    data = shards(str(sharded))
    assert len(data.train) == 21
    assert data.train.report == [
        f"{sharded / 'train'}: the index cannot be kept there (Permission denied) and is made anew each time."
    ]


def test_train_and_val_in_one_folder_share_an_index(tmp_path):
    for k in range(3):
        write_tar(tmp_path / f"set-train-{k:03d}.tar", pair(k))
    write_tar(tmp_path / "set-val-000.tar", pair(5))
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    for _ in range(2):
        data = shards(str(tmp_path), train="set-train-{000..002}.tar", val="set-val-*.tar")
        assert (len(data.train), len(data.val)) == (3, 1)
    with np.load(tmp_path / INDEX) as file:
        assert len(file["names"]) == 4


def test_million_of_pictures_stay_small():
    """24 bytes a picture or less: shard, offset, length and label; the blocks are the shards."""
    count, size = 1_200_000, 1000
    lengths = np.random.default_rng(0).integers(20_000, 200_000, size).astype(np.int32)
    part = Shard(np.cumsum(lengths, dtype=np.int64), lengths, np.zeros(size, np.int32), 0, "")
    paths = [f"/data/imagenet/train/{k:06d}.tar" for k in range(count // size)]
    index = join_shards(paths, [part] * len(paths), CLASSES, blocks=True)
    assert len(index) == count and isinstance(index.pictures, TarPictures)
    arrays = {
        id(a): a
        for a in (index.labels, index.blocks, index.pictures.shard, index.pictures.offset, index.pictures.length)
    }
    total = sum(a.nbytes for a in arrays.values())
    assert total == 20 * count == 24_000_000


# Where they lie


def test_braces():
    assert expand_braces("a{8..11}.tar") == ["a8.tar", "a9.tar", "a10.tar", "a11.tar"]
    assert expand_braces("{a,b}-{000..001}") == ["a-000", "a-001", "b-000", "b-001"]
    assert expand_braces("plain") == ["plain"] and expand_braces("{3..2}x") == []


def test_folders_patterns_and_what_is_missing(tmp_path):
    for name in ("000001.tar", "000000.tar", "notes.txt", ".000009.tar"):
        write_tar(tmp_path / "train" / name, pair(0))

    def found(pattern):
        return [path.name for path in find_shards(tmp_path, pattern)]

    assert found("train") == found("train/*.tar") == found("train/{000000..000001}.tar") == ["000000.tar", "000001.tar"]
    assert found("{train/000001.tar,train/*1.tar}") == ["000001.tar"]
    with pytest.raises(DataError, match=r"train/000002\.tar does not exist"):
        found("train/{000000..000003}.tar")
    with pytest.raises(DataError, match="no tar file"):
        found("train/x*.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no tar file"):
        found("empty")


def test_classes_are_wanted(sharded):
    (sharded / "train/classes.txt").unlink()
    with pytest.raises(DataError, match=r"train/classes\.txt does not exist: a class name a line"):
        shards(str(sharded))
    (sharded / "classes.txt").write_text("\n".join(CLASSES))
    assert shards(str(sharded)).names == CLASSES
    assert shards(str(sharded), names=["x", "y", "z"]).names == ("x", "y", "z")
    with pytest.raises(ConfigError, match=r"data\.order=random: blocks or all is wanted"):
        shards(str(sharded), order="random")

"""The ImageNet tree: names of synsets, and the way from the archives to it."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from visionkit.data.imagenet_names import imagenet_names
from visionkit.data.imagenet_tree import imagenet, read_synsets
from visionkit.data.prepare_imagenet import DEVKIT, MD5, TRAIN, VAL, prepare_imagenet
from visionkit.errors import DataError

SYNSETS = ("n01440764", "n02012849", "n03126707")
WORDS = "n03126707 crane\nn01440764 tench, Tinca tinca\n\nn02012849 crane, bird\n"


def jpeg(value=0):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def tree(tmp_path):
    for split in ("train", "val"):
        for synset in SYNSETS:
            (tmp_path / split / synset).mkdir(parents=True)
            (tmp_path / split / synset / f"{synset}_1.JPEG").write_bytes(jpeg())
    return tmp_path


@pytest.mark.parametrize("file", ["LOC_synset_mapping.txt", "synset_words.txt"])
def test_names_come_from_the_file_and_are_unique(tree, file):
    (tree / file).write_text(WORDS)
    data = imagenet(str(tree))
    assert data.names == ("tench", "crane", "crane (2)")
    assert data.val.names == data.names and data.val.labels.tolist() == [0, 1, 2]


def test_a_split_without_some_classes_keeps_the_names(tree):
    (tree / "synset_words.txt").write_text(WORDS)
    (tree / "val" / SYNSETS[1] / f"{SYNSETS[1]}_1.JPEG").unlink()
    (tree / "val" / SYNSETS[1]).rmdir()
    assert imagenet(str(tree)).val.labels.tolist() == [0, 2], "the crane that is left is still the second one"


def test_without_a_file_the_folders_name_the_classes(tree):
    assert imagenet(str(tree)).names == SYNSETS


def test_a_thousand_folders_have_the_published_names(tmp_path):
    for split, step in (("train", 1), ("val", 7)):
        for k in range(0, 1000, step):
            (tmp_path / split / f"n{k:08d}").mkdir(parents=True)
            (tmp_path / split / f"n{k:08d}" / "1.JPEG").touch()
    data = imagenet(str(tmp_path))
    assert data.names == imagenet_names() and data.val.labels.tolist() == list(range(0, 1000, 7))


def test_the_thousand_first_terms_become_the_published_names(tmp_path):
    published = list(imagenet_names())
    terms = [{"crane bird": "crane", "maillot tank suit": "maillot, tank suit"}.get(name, name) for name in published]
    path = tmp_path / "words.txt"
    path.write_text("".join(f"n{k:08d} {text}, more\n" for k, text in enumerate(terms)))
    assert list(read_synsets(path).values()) == published
    terms[5] = "my own ray"
    path.write_text("".join(f"n{k:08d} {text}\n" for k, text in enumerate(terms)))
    names = list(read_synsets(path).values())
    assert names[5] == "my own ray" and names[517] == "crane (2)"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (WORDS.replace("n02012849", "n02012850"), "train: the folder n02012849 is none of the 3 synsets"),
        (WORDS + "n01440764 fish", "line 5: 'n01440764 fish' names a synset for the second time"),
        ("n01440764\n", "line 1: 'n01440764' is not a synset and its terms"),
    ],
)
def test_names_that_do_not_fit(tree, words, sentence):
    (tree / "synset_words.txt").write_text(words)
    with pytest.raises(DataError, match=sentence):
        imagenet(str(tree))


# From the archives


def packed(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def devkit(truth):
    """Three classes, numbered against the order of their synsets, and a parent, as in the real meta.mat."""
    from scipy.io import savemat

    rows = np.empty(4, [(key, object) for key in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")])
    for k, synset in enumerate((SYNSETS[2], SYNSETS[0], SYNSETS[1])):
        rows[k] = (k + 1, synset, f"term{k}, more", "", 0)
    rows[3] = (4, "n00000001", "entity", "", 3)
    meta = io.BytesIO()
    savemat(meta, {"synsets": rows})
    inside = "ILSVRC2012_devkit_t12/data"
    lines = "".join(f"{number}\n" for number in truth).encode()
    return packed(
        {f"{inside}/meta.mat": meta.getvalue(), f"{inside}/ILSVRC2012_validation_ground_truth.txt": lines}, "w:gz"
    )


@pytest.fixture
def archives(tmp_path):
    """Writes the three archives; gives their folder and a function for their checksums."""
    source = tmp_path / "archives"
    source.mkdir()
    inner = {f"{s}.tar": packed({f"{s}_{i}.JPEG": jpeg(9 * k + i) for i in range(2)}) for k, s in enumerate(SYNSETS)}
    (source / TRAIN).write_bytes(packed(inner))
    (source / VAL).write_bytes(packed({f"ILSVRC2012_val_{i:08d}.JPEG": jpeg(i) for i in (3, 1, 2, 4)}))
    (source / DEVKIT).write_bytes(devkit([2, 1, 1, 3]))

    def sums():
        return {name: hashlib.md5((source / name).read_bytes(), usedforsecurity=False).hexdigest() for name in MD5}

    return source, sums


def files_of(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


EXPECTED = [
    "synset_words.txt",
    *(f"train/{synset}/{synset}_{i}.JPEG" for synset in SYNSETS for i in range(2)),
    f"val/{SYNSETS[0]}/ILSVRC2012_val_00000001.JPEG",
    f"val/{SYNSETS[1]}/ILSVRC2012_val_00000004.JPEG",
    f"val/{SYNSETS[2]}/ILSVRC2012_val_00000002.JPEG",
    f"val/{SYNSETS[2]}/ILSVRC2012_val_00000003.JPEG",
]


def test_archives_become_the_tree(archives, tmp_path):
    source, sums = archives
    folder = prepare_imagenet(source, tmp_path / "imagenet", sums())
    assert files_of(folder) == EXPECTED
    assert (folder / EXPECTED[2]).read_bytes() == jpeg(1) and (folder / EXPECTED[-1]).read_bytes() == jpeg(3)
    assert imagenet(str(folder)).names == ("term1", "term2", "term0")
    assert (folder / "synset_words.txt").read_text().splitlines()[0] == f"{SYNSETS[0]} term1, more"


def test_an_interrupted_unpacking_goes_on(archives, tmp_path, monkeypatch):
    from visionkit.data import prepare_imagenet as module

    source, sums = archives
    folder, write, done = tmp_path / "imagenet", module._write, []

    def failing(content, size, target):
        if len(done) == 4 + 3:  # the validation set, a class and a half
            target.write_bytes(content.read(size)[:10])  # half a file
            raise KeyboardInterrupt
        done.append(target)
        write(content, size, target)

    monkeypatch.setattr(module, "_write", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare_imagenet(source, folder, sums())
    assert sorted(p.name for p in (folder / "train").iterdir() if not p.name.startswith(".")) == [SYNSETS[0]]
    monkeypatch.setattr(module, "_write", write)
    kept = (folder / EXPECTED[1]).stat().st_mtime_ns
    prepare_imagenet(source, folder, sums())
    assert files_of(folder) == EXPECTED and (folder / EXPECTED[1]).stat().st_mtime_ns == kept
    assert (folder / EXPECTED[4]).read_bytes() == jpeg(10)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda s: (s / VAL).unlink(), f"{VAL} does not exist; .* are wanted"),
        (lambda s: (s / VAL).write_bytes((s / VAL).read_bytes()[:-600]), "md5"),
        (lambda s: (s / VAL).write_bytes(packed({"ILSVRC2012_val_00000005.JPEG": b"x"})), "none of the 4 pictures"),
        (lambda s: (s / VAL).write_bytes(packed({"ILSVRC2012_val_00000001.JPEG": b"x"})), "has 1 pictures, and .* 4"),
        (lambda s: (s / VAL).write_bytes(packed({"../x_1.JPEG": b"x"})), "'../x_1.JPEG' is not a plain file"),
        (lambda s: (s / TRAIN).write_bytes(packed({"n9.tar": packed({})})), "'n9.tar' is none of the 3 classes"),
        (lambda s: (s / TRAIN).write_bytes(packed({f"{SYNSETS[0]}.tar": packed({"a/b.JPEG": b"x"})})), "'a/b.JPEG'"),
        (lambda s: (s / TRAIN).write_bytes(packed({f"{SYNSETS[0]}.tar": b"no tar"})),
         f"{TRAIN}/{SYNSETS[0]}.tar: broken archive"),
        (lambda s: (s / TRAIN).write_bytes(packed({f"{SYNSETS[0]}.tar": packed({"b.JPEG": b""})})), "2 of 3 classes"),
        (lambda s: (s / DEVKIT).write_bytes(packed({"a": b""}, "w:gz")), "classes cannot be read"),
        (lambda s: (s / DEVKIT).write_bytes(devkit([1, 4])), "has the class 4, which is none"),
    ],
)  # fmt: skip
def test_archives_that_are_not_what_they_should_be(archives, tmp_path, break_it, words):
    source, sums = archives
    known = sums()
    break_it(source)
    if words != "md5" and (source / VAL).exists():
        known = sums()  # the content is at fault, not the copy
    with pytest.raises(DataError, match=words) as caught:
        prepare_imagenet(source, tmp_path / "imagenet", known)
    assert "\n" not in str(caught.value)

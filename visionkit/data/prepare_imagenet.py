"""From the archives of ILSVRC 2012, which need a login to fetch, to a folder for each synset."""

import hashlib
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visionkit.data.progress import Progress
from visionkit.errors import DataError

TRAIN = "ILSVRC2012_img_train.tar"
VAL = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
MD5 = {
    TRAIN: "1d675b47d978889d74fa0da5fadfb00e",
    VAL: "29b22e2961454d5413ddabcf34fc5622",
    DEVKIT: "fa75699e90414af021442c21a62c3abf",
}
_CHUNK = 1 << 20


def prepare_imagenet(source: Path, folder: Path, md5: Mapping[str, str] = MD5) -> Path:
    """Unpacks the three archives of `source` into `folder/train/n01440764/*.JPEG`, `folder/val/...` and
    `folder/synset_words.txt`.

    The archives stay as they are. Each class appears under its name when all of its pictures are there, the validation
    set when it is whole; a further call goes on with what is missing.

    DataError: an archive that is missing, damaged or another one than its MD5 says; members that are no plain files or
    would land elsewhere.
    """
    for name in md5:
        if not (source / name).is_file():
            raise DataError(f"{source / name} does not exist; {', '.join(md5)} are wanted, from image-net.org.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check(source / DEVKIT, md5[DEVKIT])
        synsets, truth = _devkit(source / DEVKIT)
        words = "".join(f"{synset} {terms}\n" for synset, terms in sorted(synsets.values()))
        (folder / "synset_words.txt").write_text(words, encoding="utf-8")
        if not (folder / "val").is_dir():
            _check(source / VAL, md5[VAL])
            _unpack_val(source / VAL, folder / "val", [synsets[number][0] for number in truth])
        wanted = sorted(synset for synset, _ in synsets.values())
        if any(not (folder / "train" / synset).is_dir() for synset in wanted):
            _check(source / TRAIN, md5[TRAIN])
            _unpack_train(source / TRAIN, folder / "train", wanted)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}.") from error
    return folder


def _check(archive: Path, md5: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with (
        open(archive, "rb") as file,
        Progress(f"checking {archive.name}", archive.stat().st_size, "MB", 1e6) as progress,
    ):
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.advance(len(chunk))
    if digest.hexdigest() != md5:
        raise DataError(f"{archive}: its md5 is {digest.hexdigest()} instead of {md5}: fetch it again.")


@contextmanager
def _opened(archive: str, content: Any = None) -> Iterator[tarfile.TarFile]:
    """The file of this name, or the `content` that is called so."""
    try:
        with tarfile.open(None if content else archive, fileobj=content) as packed:
            yield packed
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: broken archive: {str(error).splitlines()[0].rstrip(':.')}.") from error


def _files(packed: tarfile.TarFile, archive: str, suffix: str) -> Iterator[tuple[str, io.BufferedIOBase, int]]:
    """(name, content, size) of the members, which must be files without a path and end in `suffix`."""
    for member in packed:
        plain = member.isreg() and Path(member.name).name == member.name.removeprefix("./")
        if not plain or not member.name.endswith(suffix) or any(c in member.name for c in "\\:\0"):
            raise DataError(f"{archive}: member '{member.name}' is not a plain file that ends in {suffix}.")
        content: Any = packed.extractfile(member)
        yield Path(member.name).name, content, member.size


def _write(content: io.BufferedIOBase, size: int, target: Path) -> None:
    """A file that is there with its full size is left alone: bytes are written from the first to the last."""
    if target.exists() and target.stat().st_size == size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)


def _unpack_train(archive: Path, folder: Path, synsets: list[str]) -> None:
    """A tar of tars, one a class."""
    folder.mkdir(exist_ok=True)
    with _opened(str(archive)) as packed, Progress(f"unpacking {archive.name}", len(synsets), "classes") as progress:
        for name, content, _ in _files(packed, str(archive), ".tar"):
            synset = name.removesuffix(".tar")
            if synset not in synsets:
                raise DataError(f"{archive}: member '{name}' is none of the {len(synsets)} classes of {DEVKIT}.")
            if not (folder / synset).is_dir():
                part = folder / f".{synset}.part"
                part.mkdir(exist_ok=True)
                with _opened(f"{archive}/{name}", content) as inner:
                    for picture, pixels, size in _files(inner, f"{archive}/{name}", ".JPEG"):
                        _write(pixels, size, part / picture)
                os.replace(part, folder / synset)
            progress.advance()
    missing = [synset for synset in synsets if not (folder / synset).is_dir()]
    if missing:
        raise DataError(
            f"{archive} has no pictures of {missing[0]} ({len(missing)} of {len(synsets)} classes missing)."
        )


def _unpack_val(archive: Path, folder: Path, synset_of: list[str]) -> None:
    """Pictures numbered as the lines of the ground truth."""
    part = folder.with_name(f".{folder.name}.part")
    count = 0
    with _opened(str(archive)) as packed, Progress(f"unpacking {archive.name}", len(synset_of), "images") as progress:
        for name, content, size in _files(packed, str(archive), ".JPEG"):
            digits = Path(name).stem.rpartition("_")[2]
            if not digits.isdecimal() or not 1 <= int(digits) <= len(synset_of):
                raise DataError(f"{archive}: member '{name}' is none of the {len(synset_of)} pictures of {DEVKIT}.")
            _write(content, size, part / synset_of[int(digits) - 1] / name)
            count += 1
            progress.advance()
    if count != len(synset_of):
        raise DataError(f"{archive} has {count} pictures, and {DEVKIT} the classes of {len(synset_of)}.")
    os.replace(part, folder)


def _devkit(archive: Path) -> tuple[dict[int, tuple[str, str]], list[int]]:
    """{class number: (synset, its terms)}, and the class numbers of the validation pictures."""
    from scipy.io import loadmat  # a second; albumentations brings it along

    inside = archive.name.removesuffix(".tar.gz") + "/data"
    with _opened(str(archive)) as packed:
        try:
            meta: Any = packed.extractfile(f"{inside}/meta.mat")
            lines: Any = packed.extractfile(f"{inside}/ILSVRC2012_validation_ground_truth.txt")
            rows = loadmat(io.BytesIO(meta.read()), squeeze_me=True)["synsets"]
            truth = [int(line) for line in lines.read().split()]
            # A row: number, synset, terms, gloss, number of children ...; the classes are the leaves of the tree.
            synsets = {int(row[0]): (str(row[1]), str(row[2])) for row in rows if int(row[4]) == 0}
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"{archive}: the classes cannot be read from it ({error}).") from error
    for number, (synset, _) in synsets.items():
        if not synset.isalnum():
            raise DataError(f"{archive}: the synset '{synset}' of class {number} cannot be a folder.")
    if unknown := set(truth) - set(synsets):
        raise DataError(f"{archive}: a validation picture has the class {min(unknown)}, which is none.")
    return synsets, truth

"""The tree of ImageNet: `ROOT/train/n01440764/*.JPEG`, `ROOT/val/n01440764/*.JPEG`, with names for the synsets."""

from dataclasses import replace
from pathlib import Path

from visionkit.data.folders import read_folders
from visionkit.data.imagenet_names import imagenet_names, unique_names
from visionkit.data.labelled import LabelledData, LabelledIndex, join_labelled
from visionkit.data.roots import resolve_root
from visionkit.errors import DataError

NAME_FILES = ("LOC_synset_mapping.txt", "synset_words.txt")
_CLASSES = 1000


def imagenet(root: str, train: str = "train", val: str = "val") -> LabelledData:
    """The target of `configs/data/imagenet.yaml`.

    A class is named by the first term of its line in `LOC_synset_mapping.txt` or `synset_words.txt` under `root`
    ("n01440764 tench, Tinca tinca": tench). Without such a file, 1,000 folders are named as torchvision names the
    classes of its weights, and any other number by the folders' own names.

    DataError: see `read_folders`; a file of names that does not name a folder, or is no such file.
    """
    base = resolve_root(root)
    splits = [read_folders(base / split) for split in (train, val)]
    known = _names(base)
    if known is None and len(splits[0].names) == _CLASSES:
        known = dict(zip(splits[0].names, imagenet_names(), strict=True))
    return join_labelled(*(split if known is None else _named(split, known, base) for split in splits))


def _names(base: Path) -> dict[str, str] | None:
    """Synset -> name, from the first of the two files that is there."""
    for file in NAME_FILES:
        if (base / file).is_file():
            return read_synsets(base / file)
    return None


def read_synsets(path: Path) -> dict[str, str]:
    """The lines "n01440764 tench, Tinca tinca" of a file as {"n01440764": "tench"}, the names unique."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        synset, _, terms = line.strip().partition(" ")
        name = terms.partition(",")[0].strip()
        if not line.strip():
            continue
        if not name or synset in found:
            problem = "names a synset for the second time" if name else "is not a synset and its terms"
            raise DataError(f"{path}, line {number}: '{line.strip()}' {problem}.")
        found[synset] = name
    synsets = sorted(found)
    return dict(zip(synsets, _as_published([found[synset] for synset in synsets]), strict=True))


def _as_published(names: list[str]) -> tuple[str, ...]:
    """Unique names. Two pairs of the 1,000 share their first term (crane, maillot), and torchvision has names of its
    own for those: with these a model finds its classes again in published weights, which are joined by name."""
    if len(names) == _CLASSES:
        published = imagenet_names()
        if all(name == other or names.count(name) > 1 for name, other in zip(names, published, strict=True)):
            return published
    return unique_names(names)


def _named(index: LabelledIndex, known: dict[str, str], base: Path) -> LabelledIndex:
    for synset in index.names:
        if synset not in known:
            raise DataError(f"{index.source}: the folder {synset} is none of the {len(known)} synsets of {base}.")
    return replace(index, names=tuple(known[synset] for synset in index.names))

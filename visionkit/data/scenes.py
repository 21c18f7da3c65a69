"""Synthetic pictures of a stated difficulty, written as real COCO and VOC trees and read back like any data set.

A generated folder is named after the digest of its settings, so that other settings never meet it, and appears in
one rename: it is whole or it is not there. Layout of `ROOT/DIGEST/`:

    scenes.json                     settings, generator version, OpenCV version
    coco/annotations/instances_{train,val}.json   coco/{train,val}/*.jpg     coco/semantic/{train,val}/*.png
    voc/JPEGImages  voc/Annotations  voc/ImageSets  voc/SegmentationClass  voc/SegmentationObject
    image_labels_{train,val}.csv    file stem and the class of the object with the most visible pixels
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from visionkit.data.progress import Progress
from visionkit.data.scene_coco import CocoTree
from visionkit.data.scene_picture import Picture, draw
from visionkit.data.scene_settings import GENERATOR_VERSION, SPLITS, SceneSettings, settings_from
from visionkit.data.scene_voc import VocTree, semantic, write_palette
from visionkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from visionkit.data.sources import DetectionData

FORMATS = {"coco": ("coco",), "voc": ("voc",), "both": ("coco", "voc")}


def scenes(root: str | None = None, format: str = "coco", **settings: Any) -> "DetectionData":
    """The generated data set of these settings as train and val indices; generated on first use, reused afterwards.

    root: folder that holds one folder per settings; None is `datasets/scenes` of the clone (generated data never go
        to VISIONKIT_DATASETS, which may be read-only).
    format: "coco", "voc" or "both"; which tree is written, and read ("both" reads COCO). The truth is the same.
    settings: the fields of SceneSettings.

    Raises ConfigError for an unknown key or an impossible value, DataError when the folder cannot be written.
    """
    from visionkit.data.coco import read_coco
    from visionkit.data.sources import DetectionData
    from visionkit.data.voc import read_voc

    folder, checked = scene_folder(root, format, settings)
    if format == "voc":
        train, val = (read_voc(str(folder / "voc"), split, checked.classes) for split in SPLITS)
    else:
        coco = folder / "coco"
        train, val = (
            read_coco(str(coco / f"annotations/instances_{split}.json"), str(coco / split)) for split in SPLITS
        )
    return DetectionData(train=train, val=val, names=checked.classes)


def scene_folder(root: str | None, format: str, settings: Mapping[str, Any]) -> tuple[Path, SceneSettings]:
    """The folder of these settings, generated if need be, and the settings checked. Arguments as those of `scenes`."""
    checked = settings_from({key: _plain(value) for key, value in settings.items()})
    return generate(default_root() if root is None else Path(root), checked, format), checked


def generate(root: Path, settings: SceneSettings, format: str = "coco") -> Path:
    """Makes `root/DIGEST` unless it is there already, and returns it. Safe when several processes ask at once."""
    if format not in FORMATS:
        raise ConfigError(f"scenes: format must be one of {', '.join(FORMATS)}, got {format!r}.")
    folder = root / f"{settings.digest()}-{format}"
    if (folder / "scenes.json").is_file():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=root))
    except OSError as error:
        raise DataError(f"scenes: cannot write to {root}: {error.strerror}.") from error
    try:
        _write(building, settings, format, folder.name)
        building.chmod(0o755)  # mkdtemp makes it private
        try:
            os.replace(building, folder)
        except OSError:
            if not (folder / "scenes.json").is_file():  # another process was faster: its folder is as good
                raise
    except OSError as error:
        raise DataError(f"scenes: cannot write {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def default_root() -> Path:
    """`datasets/scenes` of the clone that this file lies in; of the current folder when the package is installed."""
    clone = Path(__file__).resolve().parents[2]
    return (clone if (clone / "pyproject.toml").is_file() else Path.cwd()) / "datasets" / "scenes"


def encode(picture: Picture, quality: int) -> bytes:
    """The picture's JPEG file."""
    done, data = cv2.imencode(".jpg", picture.image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise DataError("scenes: OpenCV could not encode a picture as JPEG.")
    return data.tobytes()


def largest_class(picture: Picture, names: tuple[str, ...]) -> str:
    """The picture's image label: the class of the object with the most visible pixels."""
    return names[int(picture.labels[picture.masks.sum(axis=(1, 2)).argmax()])]


def _write(root: Path, settings: SceneSettings, format: str, label: str) -> None:
    trees: dict[str, type[CocoTree] | type[VocTree]] = {"coco": CocoTree, "voc": VocTree}
    total = sum(settings.images(split) for split in SPLITS)
    with Progress(f"generating scenes {label}", total, "pictures") as progress:
        for split in SPLITS:
            writers = [trees[kind](root / kind, split, settings.classes) for kind in FORMATS[format]]
            semantics = root / "coco" / "semantic" / split if "coco" in FORMATS[format] else None
            if semantics is not None:
                semantics.mkdir(parents=True)
            labels = ["image,label\n"]
            for number in range(settings.images(split)):
                picture = draw(settings, split, number)
                name = f"{split}_{number:06d}"
                encoded = encode(picture, settings.jpeg_quality)
                for writer in writers:
                    writer.add(name, picture, encoded)
                if semantics is not None:
                    write_palette(semantics / f"{name}.png", semantic(picture))
                labels.append(f"{name},{largest_class(picture, settings.classes)}\n")
                progress.advance()
            for writer in writers:
                writer.close()
            (root / f"image_labels_{split}.csv").write_text("".join(labels))
    stated = {
        "generator_version": GENERATOR_VERSION,
        "opencv": cv2.__version__,
        "digest": settings.digest(),
        "format": format,
    }
    (root / "scenes.json").write_text(json.dumps({**stated, "settings": asdict(settings)}, indent=2) + "\n")


def _plain(value: Any) -> Any:
    """A tuple for any kind of list, so that settings hash and compare the same wherever they come from."""
    return tuple(value) if not isinstance(value, str) and hasattr(value, "__iter__") else value

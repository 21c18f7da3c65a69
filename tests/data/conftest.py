"""Writes small trees in the real layouts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.data.voc import read_voc


def write_picture(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """A picture of (height, width) with a gradient and noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    ramp = np.linspace(0, 190, width)[None, :, None]
    Image.fromarray((noise + ramp).astype(np.uint8)).save(path, quality=92)
    return path


def voc_xml(size: tuple[int, int] | None, objects: list[tuple[str, tuple[Any, ...]]], extra: str = "") -> str:
    stated = "" if size is None else f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    body = "".join(
        f"<object><name>{name}</name>{extra}<bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for name, b in objects
    )
    return f"<annotation><filename>elsewhere.jpg</filename><path>/nowhere/x.jpg</path>{stated}{body}</annotation>"


class VocTree:
    """A VOC tree that grows by `add`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        objects: list[tuple[str, tuple[Any, ...]]],
        size: tuple[int, int] = (40, 60),
        split: str = "train",
        stated: tuple[int, int] | None = (-1, -1),
        extra: str = "",
        suffix: str = ".jpg",
    ) -> Path:
        write_picture(self.root / "JPEGImages" / f"{name}{suffix}", size, seed=len(name))
        xml = voc_xml(size if stated == (-1, -1) else stated, objects, extra)
        (self.root / "Annotations" / f"{name}.xml").write_text(xml)
        with open(self.root / "ImageSets" / "Main" / f"{split}.txt", "a") as file:
            file.write(f"{name}\n")
        return self.root / "JPEGImages" / f"{name}{suffix}"

    def read(self, split: str = "train", names: list[str] | None = None) -> DetectionIndex:
        return read_voc(str(self.root), split, names)


@pytest.fixture
def new_voc_tree() -> type[VocTree]:
    return VocTree


@pytest.fixture
def voc_tree(tmp_path: Path) -> VocTree:
    return VocTree(tmp_path / "voc")


@pytest.fixture
def coco_file(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Writes a COCO tree of three pictures (40 x 60) and gives (annotation file, image folder)."""

    def write(annotations: list[dict[str, Any]], **changes: Any) -> tuple[str, str]:
        folder = tmp_path / "pictures"
        images = []
        for number in (7, 3, 11):
            write_picture(folder / f"{number}.jpg", (40, 60), seed=number)
            images.append({"id": number, "file_name": f"{number}.jpg", "height": 40, "width": 60})
        content = {
            "images": images,
            "categories": [{"id": 90, "name": "last"}, {"id": 2, "name": "first"}],
            "annotations": annotations,
        }
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content | changes))
        return str(path), str(folder)

    return write


@pytest.fixture
def annotation() -> Callable[..., dict[str, Any]]:
    """A sound COCO annotation with some keys changed; a key of None is left out."""

    def make(**changes: Any) -> dict[str, Any]:
        sound = {"id": 5, "image_id": 3, "category_id": 2, "bbox": [10, 5, 20, 15], "area": 123.5, "iscrowd": 0}
        return {key: value for key, value in (sound | changes).items() if value is not None}

    return make


@pytest.fixture
def many(tmp_path: Path) -> Callable[..., DetectionIndex]:
    """An index of small pictures: `shapes` gives each one's (height, width); every image but the third has a box."""

    def make(shapes: list[tuple[int, int]]) -> DetectionIndex:
        builder = IndexBuilder(["a", "b"], "generated")
        for i, (height, width) in enumerate(shapes):
            path = write_picture(tmp_path / "many" / f"{i}.jpg", (height, width), seed=i)
            builder.add_image(str(path), 100 + i, (height, width))
            if i != 2:
                builder.add_object((1.0, 2.0, width / 2, height / 2), i % 2, difficult=i == 1)
        return builder.build()

    return make


def write_mask(path: Path, values: np.ndarray) -> Path:
    """A PNG file of values (H, W) uint8, gray, or of colours (H, W, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path

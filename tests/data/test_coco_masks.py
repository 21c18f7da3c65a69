"""Masks of COCO's four forms are those that pycocotools itself makes of the file, pixel by pixel."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_tools
from pycocotools.coco import COCO

from visionkit.data.coco import read_coco
from visionkit.data.dataset import DetectionDataset
from visionkit.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own

SIZE = (60, 90)


def blob(random: np.random.Generator) -> np.ndarray:
    """(H, W) bool: a few random rectangles, joined."""
    mask = np.zeros(SIZE, bool)
    for _ in range(3):
        y, x = random.integers(0, 40), random.integers(0, 60)
        mask[y : y + random.integers(2, 20), x : x + random.integers(2, 30)] = True
    return mask


def polygon(random: np.random.Generator) -> list[float]:
    """A star-shaped polygon, which may leave the picture at the right and the bottom."""
    angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 12)))
    radii, middle = random.uniform(3, 25, len(angles)), random.uniform(10, (80, 50))
    points = middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    return points.clip(0, (92, 61)).ravel().round(2).tolist()


def segmentation(kind: str, random: np.random.Generator) -> Any:
    if kind == "polygon":
        return [polygon(random)]
    if kind == "parts":
        return [polygon(random) for _ in range(3)]
    if kind == "runs":
        flat = blob(random).ravel(order="F").astype(int)
        bounds = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *bounds, len(flat)]).tolist()
        return {"size": list(SIZE), "counts": [0, *runs] if flat[0] else runs}
    code = mask_tools.encode(np.asfortranarray(blob(random).astype(np.uint8)))
    return {"size": list(SIZE), "counts": code["counts"].decode()}


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve pictures with every form of mask; run lengths are crowds, as in COCO."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(12):
        images.append({"id": i + 1, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]})
        Image.new("RGB", SIZE[::-1]).save(tmp_path / f"{i}.png")
        for kind in ("polygon", "parts", "runs", "packed"):
            code = segmentation(kind, random)
            crowd = int(kind in ("runs", "packed"))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i + 1, "category_id": 1, "iscrowd": crowd,
                 "bbox": [10, 10, 40, 30], "area": 100, "segmentation": code}
            )  # fmt: skip
    path = tmp_path / "instances.json"
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "blob"}]}
    path.write_text(json.dumps(content))
    return path, tmp_path


def assert_masks_are_pycocotools(annotations: Path, images: Path) -> int:
    index, theirs = read_coco(str(annotations), str(images)), COCO(str(annotations))
    compared = 0
    for i in range(len(index)):
        for mask, number in zip(index.masks(i), index.truth(i).ids.tolist(), strict=True):
            assert np.array_equal(mask, theirs.annToMask(theirs.anns[number]).astype(bool)), number
            compared += 1
    return compared


def test_generated_masks_are_pycocotools(tree):
    assert assert_masks_are_pycocotools(*tree) == 48


@pytest.mark.parametrize(("split", "objects"), [("train", 739), ("val", 624)])
def test_real_masks_are_pycocotools(datasets_root, split, objects):
    folder = datasets_root / "coco_mini"
    found = assert_masks_are_pycocotools(folder / f"annotations/instances_{split}2017.json", folder / f"{split}2017")
    assert found == objects


def test_a_sample_carries_its_masks_and_knows_its_crowds(tree):
    index = read_coco(*map(str, tree))
    truth = DetectionDataset(index, None, None, seed=0, with_masks=True)[0, 3].truth
    assert truth.masks.shape == (4, *SIZE) and truth.crowd.tolist() == [False, False, True, True]
    assert np.array_equal(truth.masks, index.masks(3))


def test_data_without_masks_are_refused(tree):
    content = json.loads(tree[0].read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    tree[0].write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"instances\.json: the annotations hold no masks, which this task needs"):
        DetectionDataset(read_coco(*map(str, tree)), None, None, seed=0, with_masks=True)

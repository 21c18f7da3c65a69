"""Tiny data sets in their real layouts: what stands where, how it is named and what its files look like inside."""

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BOXES = ((6, 8, 50, 44), (30, 20, 74, 60))


def write_picture(path: Path, seed: int) -> None:
    """72 x 96 pixels of noise with two boxes in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    image = random.integers(40, 120, (72, 96, 3)).astype(np.uint8)
    for x1, y1, x2, y2 in BOXES:
        image[y1:y2, x1:x2] = random.integers(140, 255, 3)
    Image.fromarray(image).save(path, quality=92)


def write_coco(root: Path, data: dict[str, Any]) -> None:
    """annotations/instances_*.json beside the folders of pictures, with the 80 categories of COCO's numbering."""
    numbers = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    for first, split in enumerate(("train", "val")):
        images, annotations = [], []
        for i in range(4):
            number = 1000 * first + i + 1
            name = f"{number:012d}.jpg"
            write_picture(root / data[split]["images"] / name, number)
            images.append({"id": number, "file_name": name, "height": 72, "width": 96, "license": 1})
            for k, (x1, y1, x2, y2) in enumerate(BOXES[: i % 3]):  # an image without objects, too
                box = [x1, y1, x2 - x1, y2 - y1]
                polygon = [x1, y1, x2, y1, x2, y2, x1, y2]
                annotations.append(
                    {"id": 10 * number + k, "image_id": number, "category_id": numbers[7 * i + k], "bbox": box,
                     "area": box[2] * box[3], "iscrowd": 0, "segmentation": [polygon]}
                )  # fmt: skip
        categories = [{"id": n, "name": f"class {n}", "supercategory": "thing"} for n in numbers]
        path = root / data[split]["annotations"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def write_voc(root: Path, data: dict[str, Any]) -> None:
    """JPEGImages, Annotations and ImageSets/Main; pixels are 1-based and inclusive."""
    names = data["names"] or ["Platelets", "RBC", "WBC"]
    for first, split in enumerate(dict.fromkeys((*data["train"], *data["val"]))):
        tree, _, name = split.rpartition("/")
        ids = [f"{100 * first + i:06d}" for i in range(4)]
        for i, stem in enumerate(ids):
            write_picture(root / tree / "JPEGImages" / f"{stem}.jpg", int(stem))
            objects = "".join(
                f"<object><name>{names[(i + k) % len(names)]}</name><pose>Left</pose><truncated>0</truncated>"
                f"<difficult>{k}</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
                f"<ymax>{y2}</ymax></bndbox></object>"
                for k, (x1, y1, x2, y2) in enumerate(BOXES[: 1 + i % 2])
            )
            path = root / tree / "Annotations" / f"{stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f"<annotation><folder>VOC2007</folder><filename>{stem}.jpg</filename>"
                f"<size><width>96</width><height>72</height><depth>3</depth></size>{objects}</annotation>"
            )
        lists = root / tree / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in ids))


def nothing(root: Path, data: dict[str, Any]) -> None:
    """Generated data write themselves."""


SYNSETS = {"n01440764": "tench, Tinca tinca", "n01514668": "cock", "n02119789": "kit fox, Vulpes macrotis"}
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_imagenet(root: Path, data: dict[str, Any]) -> None:
    """A folder for each synset in both splits, and Kaggle's file of their names."""
    for first, split in enumerate((data["train"], data["val"])):
        for k, synset in enumerate(SYNSETS):
            for i in range(3 - 2 * first):
                number = 100 * first + 10 * k + i
                name = f"{synset}_{number}.JPEG" if first == 0 else f"ILSVRC2012_val_{number:08d}.JPEG"
                write_picture(root / split / synset / name, number)
    lines = [f"{synset} {terms}\n" for synset, terms in SYNSETS.items()]
    (root / "LOC_synset_mapping.txt").write_text("".join(lines))


def write_cifar10(root: Path, data: dict[str, Any]) -> None:
    """The binary version: five batches and one for testing, of a label and three planes of 32 x 32 each."""
    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        labels = np.arange(10, dtype=np.uint8)[:, None]  # (10, 1)
        (root / name).write_bytes(np.hstack([labels, random.integers(0, 256, (10, 3072), np.uint8)]).tobytes())
    (root / "batches.meta.txt").write_text("\n".join(CIFAR10) + "\n\n")  # the real file ends in an empty line


def write_mnist(root: Path, data: dict[str, Any]) -> None:
    """Four zipped idx files: magic number and lengths as big-endian words, then bytes."""
    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    for images, labels, count in (
        (data["train_images"], data["train_labels"], 20),
        (data["val_images"], data["val_labels"], 10),
    ):
        pixels = random.integers(0, 256, (count, 28, 28), np.uint8)
        with gzip.open(root / f"{images}.gz", "wb") as file:
            file.write(struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes())
        with gzip.open(root / f"{labels}.gz", "wb") as file:
            file.write(struct.pack(">2I", 0x801, count) + bytes(i % 10 for i in range(count)))


def write_folders(root: Path, data: dict[str, Any]) -> None:
    """A folder for each class in both splits."""
    for first, split in enumerate((data["train"], data["val"])):
        for k, name in enumerate(("cat", "dog", "frog")):
            for i in range(3):
                number = 100 * first + 10 * k + i
                write_picture(root / split / name / f"{number:04d}.jpg", number)


def write_label_map(path: Path, labels: tuple[int, int], void: int = 255) -> None:
    """Of a picture of `write_picture`: two of the classes, and a rim that counts for nothing; a palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((72, 96), labels[0], np.uint8)
    for x1, y1, x2, y2 in BOXES:
        values[y1:y2, x1:x2] = labels[1]
    values[:2] = void
    picture = Image.fromarray(values)
    picture.putpalette([k for value in range(256) for k in (value, 255 - value, value)])
    picture.save(path)


def write_image_lists(root: Path, data: dict[str, Any]) -> None:
    """CamVid's lists of `picture map`, and the two folders of each split."""
    for first, split in enumerate((data["train"], data["val"])):
        lines = []
        for i in range(3):
            name = f"{100 * first + i:04d}"
            write_picture(root / f"pictures{first}" / f"{name}.png", i)
            write_label_map(root / f"maps{first}" / f"{name}.png", (i, i + 1), data["void"][0])
            lines.append(f"pictures{first}/{name}.png maps{first}/{name}.png\n")
        (root / split).write_text("".join(lines))


def write_voc_segmentation(root: Path, data: dict[str, Any]) -> None:
    """VOC's lists, pictures and palette PNGs; SBD's folder beside the tree, with .mat files like the released ones."""
    from scipy.io import savemat

    for first, split in enumerate((data["train"], data["val"])):
        for name in split:
            stems = [f"2007_{100 * first + i:06d}" for i in range(3)]
            for i, stem in enumerate(stems):
                write_picture(root / "JPEGImages" / f"{stem}.jpg", 100 * first + i)
                write_label_map(root / "SegmentationClass" / f"{stem}.png", (0, 5 + i))
            lists = root / "ImageSets" / "Segmentation"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    sbd = root.parent.parent / data["extra"]["root"]
    (sbd / "cls").mkdir(parents=True)
    for first, name in enumerate(data["extra"]["lists"]):
        stems = [f"2008_{100 * first + i:06d}" for i in range(3)]
        for i, stem in enumerate(stems):
            write_picture(sbd / "img" / f"{stem}.jpg", 200 + 100 * first + i)
            labels = np.zeros((72, 96), np.uint8)
            labels[10:40, 20:60] = 1 + i
            savemat(sbd / "cls" / f"{stem}.mat", {"GTcls": {"Segmentation": labels}})
        (sbd / name).write_text("".join(f"{stem}\n" for stem in stems))


def write_shanghaitech(root: Path, data: dict[str, Any]) -> None:
    """The pictures of a part, and a .mat file with a cell of a struct for each."""
    from scipy.io import savemat

    for first, split in enumerate((data["train"], data["val"])):
        folder = root / data["part"] / split
        (folder / "ground_truth").mkdir(parents=True)
        for i in range(1, 4):
            write_picture(folder / "images" / f"IMG_{i}.jpg", 10 * first + i)
            struct = np.zeros((1, 1), dtype=[("location", object), ("number", object)])
            points = np.random.default_rng(i).uniform(2, 70, (4 * i, 2))
            struct[0, 0]["location"], struct[0, 0]["number"] = points, np.array([[4 * i]], np.uint16)
            cell = np.empty((1, 1), object)
            cell[0, 0] = struct
            savemat(folder / "ground_truth" / f"GT_IMG_{i}.mat", {"image_info": cell})


LAYOUTS = {
    "visionkit.data.sources.coco": write_coco,
    "visionkit.data.sources.voc": write_voc,
    "visionkit.data.image_lists.image_lists": write_image_lists,
    "visionkit.data.crowds.crowds": nothing,
    "visionkit.data.scenes.scenes": nothing,
    "visionkit.data.shanghaitech.shanghaitech": write_shanghaitech,
    "visionkit.data.voc_segmentation.voc_segmentation": write_voc_segmentation,
    "visionkit.data.scenes_semantic.scenes_semantic": nothing,
    "visionkit.data.digits.digits": nothing,
    "visionkit.data.folders.folder": write_folders,
    "visionkit.data.imagenet_tree.imagenet": write_imagenet,
    "visionkit.data.cifar_binary.cifar10": write_cifar10,
    "visionkit.data.idx.mnist": write_mnist,
}

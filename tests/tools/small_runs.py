"""Tools called in this process, so that imports are paid once, on a small detector and small trees in COCO's layout."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# The smallest detector that has every part, for pictures of 64 to 96 pixels.
SMALL = (
    *("backbone=basic_fpn", "backbone.body.widths=[8,8,16,16]", "backbone.channels=16", "backbone.hidden=32"),
    *("task.short=64", "task.long=96", "task.anchor_sizes=[[16],[32],[64]]", "task.rpn_train_top=[30,20]"),
    *("task.rpn_test_top=[30,20]", "task.rpn_samples=16", "task.regions=8", "task.score_threshold=0.01"),
    *("trainer.max_steps=2", "trainer.batch_size=2", "trainer.workers=0", "trainer.evaluate_epochs=0"),
    *("trainer.device=cpu", "optim=sgd", "optim.lr=0.01", "schedule=constant"),
)
NAMES = ("cross", "disc", "square")
SCENES = [
    ((64, 80), [("disc", (5, 8, 35, 38)), ("square", (40, 20, 70, 50))]),
    ((80, 64), [("cross", (10, 10, 50, 50))]),
    ((64, 72), []),
    ((70, 96), [("square", (8, 4, 40, 36)), ("cross", (50, 20, 90, 60))]),
]


class Outcome(NamedTuple):
    """How a tool ended, and what it printed."""

    code: int
    out: str
    err: str

    def sentence(self, code: int, *words: str) -> None:
        """Asserts that the tool left with `code` and with one sentence, which has all the words."""
        assert self.code == code, self.err
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and self.err.endswith(errors[0] + "\n"), self.err
        assert "Traceback" not in self.err and "This is a bug" not in self.err
        for word in words:
            assert word in errors[0], f"{word!r} is not in: {errors[0]}"


def run_tool(name: str, *arguments: Any) -> int:
    """The exit code of `python tools/NAME.py ARGUMENTS`, run in this process."""
    try:
        getattr(import_module(f"tools.{name}"), name)([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def picture(size: tuple[int, int], objects: list[tuple[str, tuple[int, int, int, int]]], seed: int) -> np.ndarray:
    """RGB (height, width, 3) uint8: shapes filling their boxes x1 y1 x2 y2, on noise."""
    random = np.random.default_rng(seed)
    image = random.integers(60, 120, (*size, 3)).astype(np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    for name, (x1, y1, x2, y2) in objects:
        u, v = (x + 0.5 - x1) / (x2 - x1) * 2 - 1, (y + 0.5 - y1) / (y2 - y1) * 2 - 1  # -1 ... 1 inside the box
        inside = (abs(u) <= 1) & (abs(v) <= 1)
        if name == "disc":
            inside &= u**2 + v**2 <= 1
        elif name == "cross":
            inside &= (abs(u) < 0.35) | (abs(v) < 0.35)
        image[inside] = random.integers(150, 255, 3)
    return image


def coco_content(first_id: int, scenes: list[Any], names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """A COCO instances file of the scenes; its category ids have gaps."""
    ids = {name: 10 * k + 3 for k, name in enumerate(names)}
    images, annotations = [], []
    for i, (size, objects) in enumerate(scenes):
        image = first_id + i
        images.append({"id": image, "file_name": f"{image}.png", "height": size[0], "width": size[1]})
        for name, (x1, y1, x2, y2) in objects:
            number, box = 100 * image + len(annotations), [x1, y1, x2 - x1, y2 - y1]
            rest = {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            category = ids[names[NAMES.index(name)]]
            annotations.append({"id": number, "image_id": image, "category_id": category, **rest})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


class CocoTree:
    """A COCO tree of four training and four validation pictures. A test may spoil `train` and `val`, then `write`."""

    def __init__(self, root: Path, names: tuple[str, ...] = NAMES) -> None:
        self.root = root
        self.train, self.val = coco_content(1, SCENES, names), coco_content(11, SCENES[::-1], names)
        for split, content, scenes in (("train", self.train, SCENES), ("val", self.val, SCENES[::-1])):
            folder = root / f"{split}2017"
            folder.mkdir(parents=True)
            for i, ((size, objects), image) in enumerate(zip(scenes, content["images"], strict=True)):
                Image.fromarray(picture(size, objects, seed=i)).save(folder / image["file_name"])
        (root / "annotations").mkdir()
        self.write()

    def write(self) -> None:
        """The annotation files; NaN and Infinity are written as Python writes them."""
        for split in ("train", "val"):
            self.annotations(split).write_text(json.dumps(getattr(self, split)))

    def annotations(self, split: str) -> Path:
        return self.root / "annotations" / f"instances_{split}2017.json"

    @property
    def arguments(self) -> list[str]:
        return ["data=coco", f"data.root={self.root}"]


def files_below(folder: Path) -> list[str]:
    """Relative paths of all files, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

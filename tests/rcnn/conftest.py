"""Pictures of coloured blocks on disk, with proposals around them: what R-CNN's fits are tried on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.backbones.resnet import basic_resnet
from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.data.proposal_set import pack_proposals
from visionkit.data.proposals import ProposalSet
from visionkit.data.sources import DetectionData
from visionkit.models.build import fast_rcnn, rcnn

NAMES = ("red", "green", "none")  # no block is of the last class
SIZE = (64, 80)
COLORS = ((220, 40, 40), (40, 200, 60))


class Jittered:
    """A search that knows the truth: boxes beside the blocks, and some anywhere."""

    method = "jittered"

    def settings(self) -> dict:
        return {}

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return around(np.zeros((0, 4), np.float32), 0, 20)


def around(objects: np.ndarray, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` boxes: two of three shifted copies of objects, the others anywhere in the picture."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(10, 24, (count, 2))], axis=1)
    near = np.flatnonzero(np.arange(count) % 3) if len(objects) else np.zeros(0, int)
    copies = objects[np.arange(len(near)) % max(1, len(objects))] if len(objects) else np.zeros((0, 4))
    boxes[near] = copies + random.uniform(-5, 5, (len(near), 4))
    boxes = np.clip(boxes, 0, [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]).astype(np.float32)
    return boxes, np.linspace(1, 0, count, dtype=np.float32)


def with_proposals(index: DetectionIndex, count: int = 30, empty: int | None = None) -> DetectionIndex:
    """The index with proposals for each picture; for picture `empty` without any."""
    found = [around(index.truth(i).boxes, i, 0 if i == empty else count) for i in range(len(index))]
    return replace(index, proposals=packed(index, found))


def packed(index: DetectionIndex, found: list) -> ProposalSet:
    names = [f"{i}.png" for i in range(len(index))]
    return pack_proposals("jittered", {}, names, np.arange(len(index)), index.sizes, found)


def tiny(task: str = "rcnn", **settings):
    torch.manual_seed(3)
    settings = {"proposals": Jittered(), "short": 64, "long": 80, "regions": 16} | settings
    if task == "rcnn":
        settings.setdefault("crop", 32)
    backbone = basic_resnet((8, 8, 16, 16), norm="batch")
    return (rcnn if task == "rcnn" else fast_rcnn)(backbone, len(NAMES), **settings)


@pytest.fixture(scope="session")
def plain_index(tmp_path_factory) -> DetectionIndex:
    """Twelve pictures: 0 has no object, 1 has a crowd beside its block, the others one block or two of two colours."""
    folder = tmp_path_factory.mktemp("blocks")
    random = np.random.default_rng(0)
    build = IndexBuilder(NAMES, "blocks")
    for i in range(12):
        picture = random.integers(90, 130, (*SIZE, 3)).astype(np.uint8)
        boxes = [] if i == 0 else [(4 + 2 * i, 6 + i, 24 + 2 * i, 30 + i), (50, 30, 74, 56)][: 1 + i % 2]
        for k, (x1, y1, x2, y2) in enumerate(boxes):
            picture[y1:y2, x1:x2] = COLORS[(i + k) % 2]
        Image.fromarray(picture).save(folder / f"{i}.png")
        build.add_image(str(folder / f"{i}.png"), i + 1, SIZE)
        for k, box in enumerate(boxes):
            build.add_object(box, (i + k) % 2, crowd=i == 1 and k == 1)
    return build.build()


@pytest.fixture(scope="session")
def data(plain_index) -> DetectionData:
    index = with_proposals(plain_index, empty=2)
    return DetectionData(index, index, NAMES)

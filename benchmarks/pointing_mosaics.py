"""Pictures for a harder pointing game: each photograph of a raccoon in one quarter of a square, with three others.

    VISIONKIT_DATASETS=... python benchmarks/pointing_mosaics.py FOLDER
    python tools/explain.py checkpoint=.../best.pt check=pointing data=coco data.root=FOLDER \
        data.train.annotations=instances.json data.train.images=images \
        data.val.annotations=instances.json data.val.images=images

The photographs have their animal in the middle, so that whoever points there is right. Among four pictures nobody
is by chance more than a quarter of the times (the grid pointing game: Boehle et al., "Convolutional Dynamic Alignment
Networks for Interpretable Classifications", 2021, sec. 5). The others are pictures of coco_mini, which has no raccoon.
Everything follows from the order of the two validation splits: picture i lies in quarter i mod 4.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from visionkit.config import compose, instantiate
from visionkit.data.image import read_image
from visionkit.explain.seen_boxes import seen_boxes
from visionkit.ops.center_crop import CenterCrop
from visionkit.pictures import write_image

SIDE = 256  # pixels of a quarter: the middle of each picture


def main(folder: Path) -> None:
    raccoons, others = (instantiate(compose("train", [f"data={name}"]).data).val for name in ("raccoon", "coco_mini"))
    resize, images, annotations = CenterCrop(SIDE, SIDE), [], []
    for i in range(len(raccoons)):
        paths = [others.path((3 * i + k) % len(others)) for k in range(3)]
        paths.insert(i % 4, raccoons.path(i))
        quarters = [resize(read_image(path)) for path in paths]  # (SIDE, SIDE, 3) each
        rows = [np.concatenate(quarters[k : k + 2], axis=1) for k in (0, 2)]
        write_image(folder / "images" / f"{i:03d}.jpg", np.concatenate(rows))
        images.append({"id": i + 1, "file_name": f"{i:03d}.jpg", "height": 2 * SIDE, "width": 2 * SIDE})
        corner = torch.tensor([i % 2, i % 4 // 2] * 2) * SIDE
        boxes = seen_boxes(resize, raccoons.size(i), torch.from_numpy(raccoons.truth(i).boxes)) + corner
        for x1, y1, x2, y2 in boxes.tolist():
            if x2 > x1 and y2 > y1:
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                annotations.append({"id": len(annotations) + 1, "image_id": i + 1, "category_id": 1, **box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "raccoon"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    print(f"{len(images)} pictures and {len(annotations)} boxes are in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Generated pictures as a COCO tree: annotations/instances_SPLIT.json and the images in SPLIT/."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.scene_picture import Picture
from visionkit.data.scene_settings import MOST_IMAGES, SPLITS


class CocoTree:
    """Collects one split and writes its JSON on `close`. Ids start at 1 (an id of 0 spoils pycocotools' matching) and
    are unique over both splits, whatever their sizes."""

    def __init__(self, root: Path, split: str, names: tuple[str, ...]) -> None:
        self.root, self.split, self.names = root, split, names
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.first_image = 1 + SPLITS.index(split) * MOST_IMAGES
        self.first_annotation = 1 + SPLITS.index(split) * 50 * MOST_IMAGES  # 50: the most objects a picture may have
        (root / split).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)

    def add(self, name: str, picture: Picture, encoded: bytes) -> None:
        """One picture under `name` (no suffix), with the bytes of its JPEG file."""
        (self.root / self.split / f"{name}.jpg").write_bytes(encoded)
        image_id = self.first_image + len(self.images)
        height, width = picture.image.shape[:2]
        self.images.append({"id": image_id, "file_name": f"{name}.jpg", "height": height, "width": width})
        for label, box, mask in zip(picture.labels, picture.boxes, picture.masks, strict=True):
            x1, y1, x2, y2 = (float(v) for v in box)
            self.annotations.append(
                {
                    "id": self.first_annotation + len(self.annotations),
                    "image_id": image_id,
                    "category_id": int(label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                }
            )

    def close(self) -> None:
        categories = [{"id": k + 1, "name": name, "supercategory": "shape"} for k, name in enumerate(self.names)]
        info = {"description": "VisionKit scenes, generated", "version": "1"}
        content = {"info": info, "images": self.images, "annotations": self.annotations, "categories": categories}
        path = self.root / "annotations" / f"instances_{self.split}.json"
        path.write_text(json.dumps(content, separators=(",", ":")))


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed RLE of a mask (H, W) bool: run lengths down the columns, the first run of zeros.

    Polygons, COCO's habit for single objects, would not give the same pixels back; this does.
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs

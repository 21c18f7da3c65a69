"""Generated pictures as a VOC tree: JPEGImages, Annotations, ImageSets, SegmentationClass, SegmentationObject."""

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from visionkit.data.scene_picture import Picture
from visionkit.data.segmentation import spread_colors


class VocTree:
    """Writes one split; `close` writes its lists. Splits share the folders, as in VOC; names carry the split."""

    def __init__(self, root: Path, split: str, names: tuple[str, ...]) -> None:
        self.root, self.split, self.names = root, split, names
        self.written: list[str] = []
        self.present: list[set[int]] = []  # the classes in each picture
        for folder in ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("Main", "Segmentation"):
            (root / "ImageSets" / folder).mkdir(parents=True, exist_ok=True)

    def add(self, name: str, picture: Picture, encoded: bytes) -> None:
        """One picture under `name` (no suffix), with the bytes of its JPEG file."""
        (self.root / "JPEGImages" / f"{name}.jpg").write_bytes(encoded)
        (self.root / "Annotations" / f"{name}.xml").write_text(_annotation(name, picture, self.names))
        instances = np.zeros(picture.image.shape[:2], np.uint8)
        for number, mask in enumerate(picture.masks):
            instances[mask] = number + 1
        write_palette(self.root / "SegmentationObject" / f"{name}.png", instances)
        write_palette(self.root / "SegmentationClass" / f"{name}.png", semantic(picture))
        self.written.append(name)
        self.present.append({int(label) for label in picture.labels})

    def close(self) -> None:
        sets = self.root / "ImageSets"
        for folder in ("Main", "Segmentation"):
            (sets / folder / f"{self.split}.txt").write_text("".join(f"{name}\n" for name in self.written))
        for k, class_name in enumerate(self.names):  # VOC's classification lists: 1 where the class occurs, else -1
            lines = (
                f"{name} {1 if k in has else -1:2d}\n" for name, has in zip(self.written, self.present, strict=True)
            )
            (sets / "Main" / f"{class_name}_{self.split}.txt").write_text("".join(lines))


def semantic(picture: Picture) -> np.ndarray:
    """Semantic mask (H, W) uint8 in VOC's numbering: 0 background, label + 1 elsewhere. No pixel is void (255)."""
    classes = np.zeros(picture.image.shape[:2], np.uint8)
    for label, mask in zip(picture.labels, picture.masks, strict=True):
        classes[mask] = label + 1
    return classes


def write_palette(path: Path, values: np.ndarray) -> None:
    """A palette PNG of values (H, W) uint8 with VOC's colours, which most viewers and readers expect."""
    from PIL import Image

    picture = Image.fromarray(values)
    picture.putpalette(voc_palette())  # turns the image from "L" into "P"
    picture.save(path, compress_level=1)


def voc_palette() -> bytes:
    """VOC's 256 RGB colours, in a row."""
    return spread_colors(256).tobytes()


def _annotation(name: str, picture: Picture, names: tuple[str, ...]) -> str:
    height, width = picture.image.shape[:2]
    objects = []
    for label, box, mask, full in zip(picture.labels, picture.boxes, picture.masks, picture.full_areas, strict=True):
        x1, y1, x2, y2 = (int(v) for v in box)
        # VOC counts pixels from 1 and includes the last: continuous x1 ... x2 is pixels x1 + 1 ... x2.
        objects.append(
            f"  <object>\n    <name>{escape(names[label])}</name>\n    <pose>Unspecified</pose>\n"
            f"    <truncated>0</truncated>\n    <occluded>{int(mask.sum() < full)}</occluded>\n"
            f"    <difficult>0</difficult>\n    <bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>\n  </object>\n"
        )
    return (
        f"<annotation>\n  <folder>voc</folder>\n  <filename>{name}.jpg</filename>\n"
        f"  <source><database>VisionKit scenes</database></source>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"  <segmented>1</segmented>\n{''.join(objects)}</annotation>\n"
    )

"""The generated scenes with a class for every pixel: the background and the shapes."""

import os
from pathlib import Path
from typing import Any

from visionkit.data.label_maps import IndexMaps, index_table
from visionkit.data.ragged import Blobs
from visionkit.data.scene_settings import SPLITS, SceneSettings
from visionkit.data.scenes import scene_folder
from visionkit.data.segmentation import SegmentationData, SegmentationIndex, join_segmentation, pack_segmentation


def scenes_semantic(root: str | None = None, format: str = "coco", **settings: Any) -> SegmentationData:
    """The target of `configs/data/scenes_semantic.yaml`: the folder of `visionkit.data.scenes.scenes` with the same
    arguments, generated once for both.

    Names are "background" and then the shapes; no pixel is void.
    """
    folder, checked = scene_folder(root, format, settings)
    return join_segmentation(*(_read(folder, split, checked, voc=format == "voc") for split in SPLITS))


def _read(folder: Path, split: str, settings: SceneSettings, voc: bool) -> SegmentationIndex:
    images, maps = (
        (folder / "voc" / "JPEGImages", folder / "voc" / "SegmentationClass")
        if voc
        else (folder / "coco" / split, folder / "coco" / "semantic" / split)
    )
    stems = [f"{split}_{number:06d}" for number in range(settings.images(split))]
    names = ("background", *settings.classes)
    labels = Blobs.pack([os.fsencode(maps / f"{stem}.png") for stem in stems])
    pictures = [str(images / f"{stem}.jpg") for stem in stems]
    return pack_segmentation(names, None, str(maps), pictures, IndexMaps(labels, index_table(range(len(names)))))

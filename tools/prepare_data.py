"""Bring a data set to disk: fetch it from its official address, checked and resumable, or generate it.

    python tools/prepare_data.py data=voc07|voc12|coco|scenes [output=FOLDER]

What is already there is not fetched again, and an interrupted download goes on where it stopped. `output` stands for
the folder `datasets/`: VOC lands in output/VOCdevkit, COCO in output/coco, generated pictures in output/scenes.
"""

from typing import Any

from visionkit.config import CONFIGS, main


@main("prepare_data", CONFIGS / "prepare")
def prepare_data(config: Any) -> None:
    """Entry point: one data set, and where it lies."""
    from pathlib import Path

    from visionkit.data.prepare import prepare

    root = Path(config.output) if config.output else None
    folder = prepare(config.data, root, config.source_url, config.keep_archives, config.seed)
    print(f"{config.data} is in {folder}")


if __name__ == "__main__":
    prepare_data()

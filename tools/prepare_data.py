"""Bring a data set to disk: fetch it from its official address, checked and resumable, generate it, or repack it.

    python tools/prepare_data.py data=voc07|voc12|coco|scenes|mnist|fashion_mnist|cifar10|cifar100 [output=FOLDER]
    python tools/prepare_data.py data=imagenet source=FOLDER_OF_THE_THREE_ARCHIVES [output=FOLDER]
    python tools/prepare_data.py data=shards source=FOLDER_OF_CLASS_FOLDERS output=FOLDER shard_size=1000
    python tools/prepare_data.py data=shards dataset=imagenet output=FOLDER

What is already there is not fetched again, and an interrupted download goes on where it stopped. `output` stands for
the folder `datasets/`: VOC lands in output/VOCdevkit, COCO in output/coco, generated pictures in output/scenes.

`data=shards` writes tar files of the WebDataset layout, for `data=shards data.root=OUTPUT`: from a folder for each
class, or from folders of those called train and val, or from any classification data set of configs/data (`dataset`).
"""

from typing import Any

from visionkit.config import CONFIGS, main


@main("prepare_data", CONFIGS / "prepare")
def prepare_data(config: Any) -> None:
    """Entry point: one data set, and where it lies."""
    from pathlib import Path

    from visionkit.data.prepare import datasets_folder, prepare
    from visionkit.data.prepare_imagenet import prepare_imagenet
    from visionkit.errors import ConfigError

    root = Path(config.output) if config.output else None
    if config.data == "shards":
        _shards(config)
        return
    if config.data == "imagenet":
        if config.source is None:
            raise ConfigError(
                "data=imagenet needs source=FOLDER with the archives from image-net.org (a login is needed)."
            )
        folder = prepare_imagenet(Path(config.source), (root or datasets_folder()) / "imagenet")
    else:
        folder = prepare(config.data, root, config.source_url, config.keep_archives, config.seed)
    print(f"{config.data} is in {folder}")


def _shards(config: Any) -> None:
    """Every split of the source as tar files."""
    from pathlib import Path

    from visionkit.data.folders import read_folders
    from visionkit.data.write_shards import write_shards
    from visionkit.errors import ConfigError

    if config.output is None or (config.source is None) == (config.dataset is None):
        raise ConfigError("data=shards needs output=FOLDER, and either source=FOLDER or dataset=NAME of configs/data.")
    output = Path(config.output)
    if config.dataset is not None:
        data = _data_set(config.dataset)
        splits = {"train": data.train, "val": data.val}
    elif (Path(config.source) / "train").is_dir():
        names = [name for name in ("train", "val") if (Path(config.source) / name).is_dir()]
        splits = {name: read_folders(Path(config.source) / name) for name in names}
    else:
        splits = {"": read_folders(Path(config.source))}
    for index in splits.values():
        for line in index.report:
            print(line)
    for name, index in splits.items():
        folder = write_shards(index, output / name, config.shard_size, config.shuffle, config.seed)
        print(f"{len(index)} images of {len(index.names)} classes are in {folder}")


def _data_set(name: str) -> Any:
    """A classification data set by its name in configs/data."""
    from visionkit.config import compose, instantiate
    from visionkit.data.labelled import LabelledData
    from visionkit.errors import ConfigError

    config = compose("train", [f"data={name}"])
    data = None if config is None else instantiate(config.data)
    if not isinstance(data, LabelledData):
        raise ConfigError(f"dataset={name} has boxes; shards are for pictures with one class each.")
    return data


if __name__ == "__main__":
    prepare_data()

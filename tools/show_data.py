"""Draw a mosaic of training samples as the network will see them: augmented, resized, with their truth.

python tools/show_data.py data=voc07 augment=standard count=24
python tools/show_data.py experiment=faster_rcnn_bccd output=samples.png
python tools/show_data.py data=folder data.root=PATH check=true      # reads every picture, names the broken ones
"""

from typing import Any

from visionkit.config import main


@main("show_data")
def show_data(config: Any) -> None:
    """Entry point: read, augment, draw; or check."""
    from pathlib import Path

    if config.check:
        _check(config)
        return

    from visionkit.assemble import build_model, load_data, train_dataset
    from visionkit.data.collate import collate
    from visionkit.data.index import DetectionIndex
    from visionkit.data.labelled import LabelledIndex
    from visionkit.errors import ConfigError
    from visionkit.pictures import PICTURES, drawn_samples, write_image
    from visionkit.run_folder import usable_folder
    from visionkit.viz.mosaic import mosaic

    path = Path(config.output).absolute()
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"output={path}: show_data writes one picture, a file that ends in {', '.join(PICTURES)}.")
    usable_folder(path.parent)
    data = load_data(config)
    index = data.train if config.split == "train" else data.val
    for line in index.report:
        print(line)
    model = build_model(config, len(data.names), pretrained=False)  # it says to what size pictures are brought
    dataset = train_dataset(config, data, model, config.split)
    count = min(config.count, len(dataset))
    colors = getattr(index, "colors", None)  # of label maps
    samples = [dataset[(config.epoch, i)] for i in range(count)]
    pictures = [picture for s in samples for picture in drawn_samples(*collate([s]), data.names, colors)]
    write_image(path, mosaic(pictures, titles=[Path(index.path(i)).name for i in range(count)]))
    objects = f"{index.objects} objects of " if isinstance(index, DetectionIndex | LabelledIndex) else ""
    print(f"{count} of {len(index)} images, {objects}{len(data.names)} classes: {path}")


def _check(config: Any) -> None:
    """Every picture of both splits; DataError at the end when one of them cannot be used."""
    from visionkit.assemble import load_data
    from visionkit.data.check_pictures import check_pictures
    from visionkit.errors import DataError

    data = load_data(config)
    broken = 0
    for name, index in (("train", data.train), ("val", data.val)):
        for line in index.report:
            print(line)
        for sentence in check_pictures(index, config.trainer.workers, f"checking {name}"):
            print(sentence, flush=True)
            broken += 1
    total = len(data.train) + len(data.val)
    if broken:
        raise DataError(f"{broken} of {total} pictures cannot be used; their names are above.")
    print(f"{total} pictures of {len(data.names)} classes can be read.")


if __name__ == "__main__":
    show_data()

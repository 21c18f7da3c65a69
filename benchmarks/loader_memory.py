"""Does memory grow while two workers read an index of 40,000 objects for three epochs?

    python benchmarks/loader_memory.py [--images 10000] [--objects 4] [--epochs 3] [--workers 2]

Prints, after each epoch, what every worker holds for itself (Uss) and its fair share of everything (Pss), in MiB, and
the growth from the first epoch to the last. All images are one small file: the index is what is measured.
"""

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visionkit.data.dataset import DetectionDataset
from visionkit.data.index import DetectionIndex, IndexBuilder
from visionkit.data.loaders import TrainLoader
from visionkit.data.transforms import RandomFlip


def generated_index(picture: Path, images: int, objects: int) -> DetectionIndex:
    """`images` times the same 48 x 64 picture with `objects` boxes and polygons each."""
    rng = random.Random(0)
    builder = IndexBuilder([f"class {k}" for k in range(80)], "generated")
    for i in range(images):
        builder.add_image(str(picture), i + 1, (48, 64))
        for _ in range(objects):
            x, y = rng.uniform(0, 40), rng.uniform(0, 30)
            polygon = [round(v, 2) for v in (x, y, x + 20, y, x + 20, y + 15, x, y + 15)]
            builder.add_object((x, y, x + 20, y + 15), rng.randrange(80), segmentation=[polygon])
    return builder.build()


def memory(pid: int) -> tuple[float, float]:
    """(Uss, Pss) of a process in MiB."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value = line.split()[:2]
        fields[key.rstrip(":")] = int(value) / 1024
    return fields["Private_Clean"] + fields["Private_Dirty"], fields["Pss"]


def measure(images: int, objects: int, epochs: int, workers: int, batch_size: int = 16) -> list[tuple[float, float]]:
    """(Uss, Pss) in MiB summed over the workers, after each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.jpg"
        Image.fromarray(np.full((48, 64, 3), 99, np.uint8)).save(picture)
        index = generated_index(picture, images, objects)
        dataset = DetectionDataset(index, RandomFlip(), None, seed=0, with_masks=True)
        loader = TrainLoader(dataset, batch_size, seed=0, workers=workers)
        batches = loader.batches()
        found = []
        for _ in range(epochs):
            for _ in range(loader.steps_per_epoch):
                next(batches)
            each = [memory(child.pid) for child in multiprocessing.active_children() if child.pid]
            found.append((sum(m[0] for m in each), sum(m[1] for m in each)))
        batches.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("images", 10_000), ("objects", 4), ("epochs", 3), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    print(f"{options.images * options.objects} objects on {options.images} images, {options.workers} workers")
    start = time.perf_counter()
    found = measure(options.images, options.objects, options.epochs, options.workers)
    for epoch, (own, share) in enumerate(found):
        print(f"after epoch {epoch}: own memory (Uss) {own:7.1f} MiB, share (Pss) {share:7.1f} MiB")
    growth = [100 * (last / first - 1) for first, last in zip(found[0], found[-1], strict=True)]
    seconds = time.perf_counter() - start
    print(f"growth from the first to the last: Uss {growth[0]:+.1f} %, Pss {growth[1]:+.1f} %   ({seconds:.0f} s)")


if __name__ == "__main__":
    main()

"""Training pictures a second and core: our input pipeline beside torchvision's reference one for ImageNet.

    python benchmarks/input_pipeline.py [--data imagenet_samples] [--repeats 7] [--size 224]

Both read the same JPEG files from disk, crop at random (8 to 100 % of the area), flip and collate batches of 25, on
one thread. torchvision's gives normalised float32, as its reference training script does; ours gives uint8, which the
model normalises on its device, so it is measured with that normalisation too. The sides take turns after every batch;
a repeat is the sum over all pictures. Seconds are those of the processor, which other programs on the machine hardly
change; the ratio of the clock's seconds stands beside.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visionkit.data.classification import LabelledDataset
from visionkit.data.labelled import LabelledIndex
from visionkit.data.loaders import TrainLoader
from visionkit.data.pictures import Files
from visionkit.data.ragged import Blobs
from visionkit.data.random_crops import RandomResizedCrop
from visionkit.data.roots import resolve_root
from visionkit.data.transforms import Chain, RandomFlip
from visionkit.models.pixels import Normalize
from visionkit.ops.center_crop import CenterCrop

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 25


def ours(paths: list[Path], size: int) -> Iterator[object]:
    """Batches of our training loader, without end."""
    files = Files(Blobs.pack([os.fsencode(path) for path in paths]))
    index = LabelledIndex(("a picture",), "pictures", [], files, np.zeros(len(paths), np.int32))
    augment = Chain([RandomResizedCrop(), RandomFlip()])
    dataset = LabelledDataset(index, augment, CenterCrop(round(size / 0.875), size), seed=0)
    return TrainLoader(dataset, BATCH, seed=0, canvas=(size, size), multiple=1, shuffle=False).batches()


def ours_normalised(paths: list[Path], size: int) -> Iterator[object]:
    """The same with the first layer of our models on top."""
    normalize = Normalize(MEAN, STD)
    for batch, targets in ours(paths, size):
        yield normalize(batch), targets


def reference(paths: list[Path], size: int) -> Iterator[object]:
    """torchvision's references/classification: PIL, RandomResizedCrop, flip, tensor, normalise, default collate."""
    transform = T.Compose(
        [
            T.RandomResizedCrop(size),
            T.RandomHorizontalFlip(),
            T.PILToTensor(),
            T.ConvertImageDtype(torch.float32),
            T.Normalize(MEAN, STD),
        ]
    )

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            with open(paths[i], "rb") as file:  # torchvision.datasets.folder.pil_loader
                return transform(Image.open(file).convert("RGB")), 0

    while True:
        yield from torch.utils.data.DataLoader(Pictures(), BATCH)


def measure(sides: dict[str, Iterator[object]], batches: int, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(processor, clock) seconds of each side and repeat, each the sum over `batches` batches taken in turn."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        sums = {name: [0.0, 0.0] for name in sides}
        for _ in range(batches):
            for name, side in sides.items():
                clocks: tuple[Callable[[], float], ...] = (time.process_time, time.perf_counter)
                start = [clock() for clock in clocks]
                next(side)
                for k, clock in enumerate(clocks):
                    sums[name][k] += clock() - start[k]
        if repeat > 0:  # the first warms up
            for name, (processor, wall) in sums.items():
                taken[name].append((processor, wall))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="imagenet_samples", help="a folder with JPEG files, under VISIONKIT_DATASETS")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    root = resolve_root(options.data)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    paths = paths[: len(paths) // BATCH * BATCH]
    if not paths:
        raise SystemExit(f"{root} has fewer than {BATCH} JPEG files")
    sides = {
        "visionkit": ours(paths, options.size),
        "visionkit, normalised": ours_normalised(paths, options.size),
        "torchvision": reference(paths, options.size),
    }
    taken = measure(sides, len(paths) // BATCH, options.repeats)
    print(f"{len(paths)} pictures of {options.data}, {options.size} px, one thread, median of {options.repeats}")
    medians = {}
    for name, seconds in taken.items():
        rates = [len(paths) / processor for processor, _ in seconds]
        medians[name] = [statistics.median(column) for column in zip(*seconds, strict=True)]
        rate = len(paths) / medians[name][0]
        print(f"  {name:22s} {rate:6.0f} images/s a core ({min(rates):.0f} to {max(rates):.0f})")
    for name in ("visionkit", "visionkit, normalised"):
        processor, wall = (medians["torchvision"][k] / medians[name][k] for k in (0, 1))
        print(f"{name}: {processor:.2f} x torchvision (by the clock {wall:.2f} x)")


if __name__ == "__main__":
    main()

"""Pictures a second from tar shards and from a folder, and the memory of an epoch over shards.

    python benchmarks/shards.py [--images 20000] [--side 128] [--shard 1000] [--repeats 5] [--read 2000]

Writes generated JPEGs (quality 90) as class folders and as shards, in a temporary folder. The same training loader
reads from each in this process: in the order of the folder ("all", the same batches bit for bit), and shard by shard
("blocks"). The sides take turns; a repeat is the next `--read` pictures of each. The operating system has the files in
memory, so what is compared is the work of the processor; on a disk that seeks, the order of blocks gains.

Memory is that of this process over one epoch of shards in the order of blocks: all of it (Rss), and what it has for
itself (Uss), without the pages of shared files.
"""

import argparse
import io
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visionkit.data.classification import LabelledDataset
from visionkit.data.folders import folder, read_folders
from visionkit.data.labelled import LabelledIndex
from visionkit.data.loaders import TrainLoader
from visionkit.data.tar_shards import shards
from visionkit.data.transforms import RandomFlip
from visionkit.data.write_shards import write_shards
from visionkit.ops.center_crop import CenterCrop

BATCH = 50
CLASSES = 10


def write_folder(root: Path, images: int, side: int) -> None:
    """Blurred noise, different in every picture: some 7 KB each at 128 pixels."""
    rng = np.random.default_rng(0)
    for k in range(CLASSES):
        for split, count in (("train", images // CLASSES), ("val", 1)):
            place = root / split / f"class{k}"
            place.mkdir(parents=True)
            for i in range(count):
                coarse = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
                (place / f"{i:05d}.jpg").write_bytes(buffer.getvalue())


def batches(index: LabelledIndex, side: int) -> Iterator[object]:
    dataset = LabelledDataset(index, RandomFlip(), CenterCrop(side, side), seed=0)
    return TrainLoader(dataset, BATCH, seed=0, canvas=(side, side), multiple=1).batches()


def same(ours: LabelledIndex, theirs: LabelledIndex, side: int) -> bool:
    """Are the first batches equal bit for bit?"""
    pairs = zip(batches(ours, side), batches(theirs, side), strict=True)
    return all(
        torch.equal(a.pixels, b.pixels) and torch.equal(x.image_labels, y.image_labels)  # type: ignore[union-attr]
        for (a, x), (b, y) in itertools.islice(pairs, 10)  # type: ignore[misc]
    )


def rates(sides: dict[str, LabelledIndex], side: int, count: int, repeats: int) -> dict[str, list[float]]:
    """Pictures a second of each side in each repeat: (by the clock, by the processor's time) interleaved."""
    streams = {name: batches(index, side) for name, index in sides.items()}
    found: dict[str, list[float]] = {f"{name}{kind}": [] for name in sides for kind in ("", " cpu")}
    for repeat in range(repeats + 1):
        for name, stream in streams.items():
            clock, cpu = time.perf_counter(), time.process_time()
            for _ in range(count // BATCH):
                next(stream)
            if repeat:  # the first is for warming up
                found[name].append(count / (time.perf_counter() - clock))
                found[f"{name} cpu"].append(count / (time.process_time() - cpu))
    return found


def memory() -> tuple[float, float]:
    """(Rss, Uss) of this process in MiB."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        key, value = line.split()[:2]
        fields[key.rstrip(":")] = int(value) / 1024
    return fields["Rss"], fields["Private_Clean"] + fields["Private_Dirty"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("images", 20_000), ("side", 128), ("shard", 1000), ("repeats", 5), ("read", 2000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_folder(root / "folder", options.images, options.side)
        for split in ("train", "val"):
            write_shards(read_folders(root / "folder" / split), root / "shards" / split, options.shard, shuffle=False)
        sides = {
            "folder": folder(str(root / "folder")).train,
            "shards, all": shards(str(root / "shards"), order="all").train,
            "shards, blocks": shards(str(root / "shards"), order="blocks").train,
        }
        size = sum(path.stat().st_size for path in (root / "folder/train").rglob("*.jpg"))
        print(f"{len(sides['folder'])} JPEGs of {options.side} px, {size / len(sides['folder']) / 1e3:.1f} KB each")
        print(f"batches equal bit for bit: {same(sides['shards, all'], sides['folder'], options.side)}")

        found = rates(sides, options.side, options.read, options.repeats)
        for name in sides:
            ratios = {
                kind: statistics.median(a / b for a, b in zip(found[name + kind], found["folder" + kind], strict=True))
                for kind in ("", " cpu")
            }
            print(
                f"{name:14s} {statistics.median(found[name]):7.0f} images/s, "
                f"{ratios['']:.2f} times the folder by the clock, {ratios[' cpu']:.2f} by the processor's time"
            )

        steps, stream = options.images // BATCH, batches(sides["shards, blocks"], options.side)
        for step in range(1, steps + 1):
            next(stream)
            if step in (1, steps // 20) or step % (steps // 5) == 0:
                rss, own = memory()
                print(
                    f"after {step * BATCH:6d} of {options.images} images: Rss {rss:6.1f} MiB, Uss {own:6.1f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""The most memory that a detector takes for one image of 800 x 1333 pixels with 2,000 given regions.

python benchmarks/region_memory.py

Each network in a process of its own; peak resident memory, and how much of it was there before the picture came
(libraries and weights). The regions go through the tail in chunks, so the peak does not grow with their number.
"""

import resource
import subprocess
import sys

NETWORKS = ("vgg16", "resnet50")


def measure(name: str) -> None:
    from dataclasses import replace

    import torch
    from lineage_times import picture, regions

    from visionkit.config import compose, instantiate
    from visionkit.models.build import fast_rcnn

    torch.manual_seed(0)
    backbone = instantiate(compose("train", [f"backbone={name}"]).backbone)
    model = fast_rcnn(backbone, 20, short=800, long=1333).eval().to(memory_format=torch.channels_last)
    batch = replace(picture(800, 1333), proposals=regions(2000, 800, 1333))
    before = peak()
    model.detect(batch, [(800, 1333)])
    print(f"{name}: peak {peak():.2f} GiB, of which {before:.2f} before the picture", flush=True)


def peak() -> float:
    """GiB resident at most, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        for network in NETWORKS:
            subprocess.run([sys.executable, __file__, network], check=True)

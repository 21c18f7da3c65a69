"""How far the layers of ImageNet's networks follow and ignore motions of real pictures.

python benchmarks/invariance.py [--networks resnet18 squeezenet1_0] [--pictures 40] [--output FOLDER]

Published weights are NETWORK_imagenet.pth of VISIONKIT_WEIGHTS, pictures those of imagenet_samples in
VISIONKIT_DATASETS, spread over the classes. Prints a table for each network and writes its files.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visionkit.config import compose
from visionkit.data.source_images import list_images
from visionkit.invariance import invariance
from visionkit.predictor import published


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "squeezenet1_0"])
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("outputs/invariance"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = list_images(Path(os.environ["VISIONKIT_DATASETS"]) / "imagenet_samples")
    paths = paths[:: max(1, len(paths) // options.pictures)][: options.pictures]
    for name in options.networks:
        weights = f"backbone.weights={name}_imagenet.pth"
        predictor = published(compose("train", ["task=classify", f"backbone={name}", weights]))
        print(f"{name}: {invariance(predictor, paths, options.output / name)}\n", flush=True)


if __name__ == "__main__":
    main()

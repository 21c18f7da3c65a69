"""Layers deleted from CIFAR's residual networks and from plain ones: published weights, and checkpoints of one's own.

python benchmarks/lesions.py [--networks resnet20 resnet56] [--checkpoints plain20=PATH ...] [--pictures 500]
                             [--draws 5] [--output FOLDER]

Published weights are cifar_resnetN.th of VISIONKIT_WEIGHTS; pictures those of cifar10_jpeg/val in VISIONKIT_DATASETS,
spread over the classes. Prints a table for each network, writes its files, and lesions.png with all of them.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visionkit.backbones import cifar_resnet
from visionkit.backbones.pretrained import load_weights
from visionkit.lesions import draw, lesions
from visionkit.models.build import classifier
from visionkit.predictor import Predictor, load


def published(name: str, names: tuple[str, ...]) -> Predictor:
    model = classifier(getattr(cifar_resnet, name)(), len(names))
    load_weights(model.backbone, f"cifar_{name}.th", model.head)
    return Predictor(model.eval(), names, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet20", "resnet56"])
    parser.add_argument("--checkpoints", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("outputs/lesions"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(os.environ["VISIONKIT_DATASETS"]) / "cifar10_jpeg" / "val"
    paths = sorted(folder.glob("*/*.jpg"))
    paths = paths[:: max(1, len(paths) // options.pictures)][: options.pictures]
    names = tuple(sorted(path.name for path in folder.iterdir()))
    checkpoints = dict(pair.split("=", 1) for pair in options.checkpoints)
    found = {}
    for name in (*options.networks, *checkpoints):
        predictor = load(checkpoints[name]) if name in checkpoints else published(name, names)
        found[name] = lesions(predictor, paths, options.output / name, draws=options.draws)
        print(f"{name}: {found[name]}\n", flush=True)
    draw(found, options.output / "lesions.png", 1 / len(names))


if __name__ == "__main__":
    main()

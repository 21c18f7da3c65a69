"""Trained on upright digits, tested on turned ones: filters in four rotations (p4_cnn) beside their plain twin.

python benchmarks/rotation.py [--seeds 0 1 2] [--epochs 8] [--output FOLDER]

The 1,797 digits that come with scikit-learn, enlarged to 10 pixels on a canvas of 16, so that nothing is cut off when
they turn; a fifth is held out, another for each seed. Each network is trained on them as they are, and once more turned
by any angle, another for each picture and epoch: Adam, learning rate 0.003 to 0 by a cosine, 32 pictures a step. Prints
the accuracy on the held-out digits turned by quarters and by the angles between, and how many of the sixes and nines
are taken for the other; writes rotation.json and rotation.png.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visionkit.backbones.p4_cnn import p4_cnn, plain_cnn
from visionkit.data.digits import digits
from visionkit.data.labelled import LabelledIndex
from visionkit.explain.motions import moved, rotate
from visionkit.models.build import classifier
from visionkit.models.classifier import Classifier
from visionkit.viz.angle_plot import plot_angles

SIDE, CANVAS = 10, 16
STEP = 15  # degrees
NETWORKS = {"p4": p4_cnn, "plain": plain_cnn}


def pictures(index: LabelledIndex, model: Classifier) -> tuple[Tensor, Tensor]:
    """Normalised digits (N, 1, 16, 16), black around them, and labels (N,)."""
    mean, std = model.normalize.mean, model.normalize.std
    gray = np.stack([index.pictures.read(i)[:, :, 0] for i in range(len(index))])  # (N, 10, 10)
    images = F.pad(torch.from_numpy(gray)[:, None].float() / 255, ((CANVAS - SIDE) // 2,) * 4)
    return (images - mean) / std, torch.from_numpy(index.labels).long()


def train(model: Classifier, images: Tensor, labels: Tensor, epochs: int, turn: bool, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    total, done = epochs * -(-len(images) // 32), 0
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=chance).split(32):
            batch = images[rows]
            if turn:
                angles = (torch.rand(len(rows), generator=chance) * 360).tolist()
                parts = [moved(batch[i : i + 1], rotate(a), (CANVAS, CANVAS)) for i, a in enumerate(angles)]
                batch = torch.cat(parts)
            for group in optimizer.param_groups:
                group["lr"] = 0.003 * 0.5 * (1 + math.cos(math.pi * done / total))
            model.train()
            loss = F.cross_entropy(model.scores(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    model.eval()


@torch.no_grad()
def answers(model: Classifier, images: Tensor, angle: float) -> Tensor:
    """The classes (N,) of pictures turned by an angle."""
    turned = moved(images, rotate(angle), (CANVAS, CANVAS))
    return torch.cat([model.scores(part).argmax(dim=1) for part in turned.split(128)])


def measured(name: str, turn: bool, seed: int, epochs: int) -> dict[str, object]:
    torch.manual_seed(seed)
    data = digits(side=SIDE, seed=seed)
    model = classifier(NETWORKS[name](), 10, size=CANVAS)
    images, labels = pictures(data.train, model)
    test, truth = pictures(data.val, model)
    start = time.process_time()
    train(model, images, labels, epochs, turn, seed)
    seconds = time.process_time() - start
    angles = list(range(0, 360, STEP))
    found = {angle: answers(model, test, angle) for angle in angles}
    other = {6: 9, 9: 6}
    pairs = {
        angle: sum(int(((truth == a) & (found[angle] == b)).sum()) for a, b in other.items()) for angle in (0, 90, 180)
    }
    return {
        "network": name, "turned in training": turn, "seed": seed, "seconds": seconds,
        "angles": angles, "accuracy": [float((found[a] == truth).float().mean()) for a in angles],
        "six or nine": int(((truth == 6) | (truth == 9)).sum()), "taken for the other": pairs,
    }  # fmt: skip


def spread(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("outputs/rotation"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    curves: dict[str, list[tuple[float, float]]] = {}
    runs = []
    print("| network | trained on | 0 | 90 | 180 | 270 | between | 6 for 9 or 9 for 6 at 0, 180 | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for turn in (False, True):
        for name in NETWORKS:
            found = [measured(name, turn, seed, options.epochs) for seed in options.seeds]
            runs += found
            angles = found[0]["angles"]
            cells = [spread([run["accuracy"][k] for run in found]) for k in range(len(angles))]
            curves[f"{name}, trained on {'turned' if turn else 'upright'}"] = [*cells, cells[0]]
            between = spread(
                [statistics.mean(run["accuracy"][k] for k, a in enumerate(angles) if a % 90) for run in found]
            )
            row = [cells[angles.index(a)] for a in (0, 90, 180, 270)] + [between]
            wrong = [sum(run["taken for the other"][a] for run in found) for a in (0, 180)]
            print(
                f"| {name} | {'turned' if turn else 'upright'} | "
                + " | ".join(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in row)
                + f" | {wrong[0]}, {wrong[1]} of {sum(run['six or nine'] for run in found)}"
                + f" | {statistics.mean(run['seconds'] for run in found):.0f} |",
                flush=True,
            )
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "rotation.json").write_text(json.dumps(runs, indent=1) + "\n")
    plot_angles([*range(0, 361, STEP)], curves, options.output / "rotation.png", 0.1)


if __name__ == "__main__":
    main()

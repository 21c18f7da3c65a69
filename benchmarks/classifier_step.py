"""One training step of a classifier beside a plain torchvision loop: forward, backward, SGD with momentum, 224 px.

    python benchmarks/classifier_step.py [--networks resnet18 resnet50] [--repeats 15] [--precision fp32 bf16]

Both have the same weights, the same pictures and channels-last memory. Ours is the training loop of the kit with all
that it does at every step (uint8 pictures normalised in the model, seeds, the check that the loss is finite); theirs is
the shortest loop that trains, and its pictures were normalised beforehand. The sides take turns, and begin in turn;
seconds are those of the processor, summed over its threads.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from visionkit.backbones import resnet
from visionkit.config import compose, instantiate
from visionkit.engine.precision import Precision
from visionkit.engine.train import train_steps
from visionkit.models.build import classifier
from visionkit.models.classifier import Classifier
from visionkit.structures import Batch, Targets

CPU = torch.device("cpu")
IMAGES = {"resnet18": 16, "resnet50": 8}


def kits_sgd(model: nn.Module) -> torch.optim.Optimizer:
    """SGD as configs/optim/sgd.yaml makes it."""
    optimizer: torch.optim.Optimizer = instantiate(compose("train", ["optim=sgd"]).optim.optimizer)(
        model.parameters(), lr=1e-4, weight_decay=1e-4
    )
    return optimizer


def ours(model: Classifier, pixels: Tensor, labels: Tensor, precision: str) -> Iterator[object]:
    """Step after step of the kit's loop on one batch."""
    count = len(labels)
    sizes, ids = torch.tensor([list(pixels.shape[2:])] * count), torch.arange(count)
    none = torch.zeros(count, 1, dtype=torch.int64)
    batch = Batch(pixels, sizes, ids, ids)
    targets = Targets(torch.zeros(count, 1, 4), none, none.bool(), none.bool(), image_labels=labels)

    def batches() -> Iterator[tuple[Batch, Targets]]:
        while True:
            yield batch, targets

    yield from train_steps(
        model.to(memory_format=torch.channels_last).train(),
        batches(),
        kits_sgd(model),
        lambda step, steps: 1.0,
        start=0,
        stop=10**6,
        seed=0,
        device=CPU,
        precision=Precision(precision, CPU),
        channels_last=True,
    )


def theirs(model: nn.Module, images: Tensor, labels: Tensor, precision: str) -> Iterator[object]:
    """Step after step of the loop that everybody writes."""
    model.to(memory_format=torch.channels_last).train()
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    while True:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        yield loss.detach()


def both(name: str, count: int, precision: str) -> dict[str, Iterator[object]]:
    """The two sides with the same weights and pictures."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (count, 224, 224, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    labels = torch.randint(0, 1000, (count,))
    reference = torchvision.models.get_model(name)
    state = reference.state_dict()
    model = classifier(getattr(resnet, name)(), 1000)
    model.head.linear.load_state_dict({key: state.pop(f"fc.{key}") for key in ("weight", "bias")})
    model.backbone.load_state_dict(state)
    images = model.normalize(Batch(pixels, torch.tensor([[224, 224]] * count), labels, labels))
    sides = {
        "visionkit": ours(model, pixels, labels, precision),
        "torchvision": theirs(reference, images, labels, precision),
    }
    first = next(sides["visionkit"]).loss.item(), next(sides["torchvision"]).item()
    assert abs(first[0] - first[1]) < 0.02 * first[1], f"the losses differ: {first}"
    return sides


def take_turns(sides: dict[str, Iterator[object]], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each step of each side; two unmeasured ones come first."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for repeat in range(repeats + 2):
        for name in names if repeat % 2 else names[::-1]:
            start = clock()
            next(sides[name])
            if repeat >= 2:
                taken[name].append(clock() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(IMAGES), choices=list(IMAGES))
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for precision in options.precision:
        print(f"{precision}, {torch.get_num_threads()} threads, median of {options.repeats} steps (quartiles)")
        for name in options.networks:
            taken = take_turns(both(name, IMAGES[name], precision), options.repeats, time.process_time)
            shown = []
            for side, seconds in taken.items():
                low, middle, high = statistics.quantiles(seconds, n=4)
                shown.append(f"{side} {middle:.3f} s ({low:.3f} to {high:.3f})")
            ratio = statistics.median(b / a for a, b in zip(taken["visionkit"], taken["torchvision"], strict=True))
            print(f"  {name}, {IMAGES[name]} images: {'  '.join(shown)}  ->  {ratio:.3f} x torchvision", flush=True)


if __name__ == "__main__":
    main()

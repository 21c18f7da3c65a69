"""Occlusion maps in batches beside one window at a time: ResNet-18 with published weights, a photograph of 224 pixels.

python benchmarks/occlusion.py [--threads 1 2] [--window 32] [--stride 16] [--batch 16] [--repeats 5] [--bf16]

One at a time is the network as it was loaded, in fp32, a batch of one window after the other; also with channels_last
weights, as the tools load it. In batches is `local_occlusion`, as tools/explain.py makes maps of classes, with folded
batch norms in channels_last; the whole network in batches is `occlusion` of the same. Medians of interleaved repeats of
whole maps, by the clock and by the processor's time, which is the fairer one where other work runs beside; then how far
the maps of the class's probability are apart, and the memory that one map takes at most, beyond what the libraries and
the weights do, in a process of its own.
bf16 is measured where the processor computes in it (or with --bf16, which takes long where it does not).
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from imagenet_pictures import pictures, published
from timing import medians
from torch import Tensor, nn

from visionkit.analysis.trace import traced
from visionkit.explain.fold_norms import folded
from visionkit.explain.local_occlusion import local_occlusion
from visionkit.explain.occlusion import Occluded, class_probability_map, occlusion, starts
from visionkit.explain.targets import class_logits
from visionkit.models.classifier import Classifier

Map = Callable[[], Tensor]
ONE, LAST = "one at a time", "one at a time, channels_last"
WHOLE, BATCHED, HALF = "in batches, whole network", "in batches", "in batches, bf16"


def one_at_a_time(scores: Callable[[Tensor], Tensor], image: Tensor, window: int, stride: int, label: int) -> Tensor:
    """What anyone would write first."""
    rows = []
    with torch.no_grad():
        for top in starts(image.shape[2], window, stride):
            for left in starts(image.shape[3], window, stride):
                hidden = image.clone()
                hidden[:, :, top : top + window, left : left + window] = 0
                rows.append(scores(hidden).softmax(dim=1)[0, label])
    return torch.stack(rows)  # (places,)


def sides(window: int, stride: int, batch: int) -> dict[str, Map]:
    """Each gives the probabilities (places,) of one map."""
    model = published("resnet18")
    image, label = pictures(model, 5)[2][1:]
    fast = folded(model).to(memory_format=torch.channels_last)
    assert isinstance(fast, Classifier)  # a copy
    plain, last = class_logits(model), class_logits(published("resnet18").to(memory_format=torch.channels_last))

    def chosen(found: Occluded) -> Tensor:
        return class_probability_map(found, label).answers.flatten()

    def batched(precision: str) -> Tensor:
        return chosen(local_occlusion(fast, image, window, stride, batch_size=batch, precision=precision))

    contiguous = image.contiguous()
    return {
        ONE: lambda: one_at_a_time(plain, contiguous, window, stride, label),
        LAST: lambda: one_at_a_time(last, image, window, stride, label),
        WHOLE: lambda: chosen(occlusion(class_logits(fast), image, window, stride, batch_size=batch)),
        BATCHED: lambda: batched("fp32"),
        HALF: lambda: batched("bf16"),
    }


def both_clocks(chosen: dict[str, Map], repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each side, by the clock and by the time of the processor; one call of each side in turn."""
    processor: dict[str, list[float]] = {name: [] for name in chosen}

    def timed(name: str, made: Map) -> None:
        start = time.process_time()
        made()
        processor[name].append(time.process_time() - start)

    clock = medians({name: partial(timed, name, made) for name, made in chosen.items()}, repeats, 1)
    return clock, {name: statistics.median(taken[1:]) for name, taken in processor.items()}  # the first warms up


def memory(name: str, window: int, stride: int, batch: int) -> None:
    """Of one map, in this process, which has made none before: MiB."""
    made = sides(window, stride, batch)[name]
    traced(nn.Conv2d(3, 3, 1, device="meta"), 3, 8, 8)  # loads the libraries that finding the steps needs
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again: loading took more than is left of it
    made()
    print((_resident("VmHWM") - before) / 2**10)


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))  # KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--memory", help="only the memory of this side")
    args = parser.parse_args()
    grid = (args.window, args.stride, args.batch)
    if args.memory:
        torch.set_num_threads(1)
        memory(args.memory, *grid)
        return
    half = args.bf16 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    chosen = {name: made for name, made in sides(*grid).items() if half or name != HALF}
    maps = {name: made() for name, made in chosen.items()}
    print(f"{len(maps[ONE])} windows of {args.window} px, stride {args.stride}, batches of {args.batch}; ", end="")
    print(f"{torch.backends.cpu.get_cpu_capability()}, bf16 {'computed' if half else 'not computed'} here", flush=True)
    for threads in args.threads:
        torch.set_num_threads(threads)
        for clock, seconds in zip(("clock", "processor"), both_clocks(chosen, args.repeats), strict=True):
            for name, taken in seconds.items():
                ratios = ", ".join(f"{taken / seconds[fast]:.2f} x {fast}" for fast in (BATCHED, HALF) if fast in maps)
                each = 1000 * taken / len(maps[ONE])
                print(f"{threads} thread(s), {clock}, {name}: {each:.1f} ms a window; {ratios}", flush=True)
    for name in (LAST, WHOLE, BATCHED, HALF):
        if name in maps:
            apart = float((maps[name] - maps[ONE]).abs().max())
            alike = float(torch.corrcoef(torch.stack((maps[name], maps[ONE])))[0, 1])
            print(f"{name}: probabilities at most {apart:.1e} from {ONE}, correlation {alike:.6f}")
    print(f"probabilities {float(maps[ONE].min()):.3f} ... {float(maps[ONE].max()):.3f}")
    for name in chosen:
        command = [sys.executable, __file__, "--memory", name]
        command += [f"--window={args.window}", f"--stride={args.stride}", f"--batch={args.batch}"]
        taken = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{name}: {float(taken):.0f} MiB more at most while a map is made", flush=True)


if __name__ == "__main__":
    main()

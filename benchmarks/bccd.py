"""The blood cells with ResNet-18 FPN, ours beside torchvision's: mean AP over seeds. About an hour on two CPU cores.

Both sides: the same ImageNet weights, the same 205 photographs, short side 320, six epochs of batches of four, SGD
0.005 with 50 warm-up steps and a tenth after 80 %. Torchvision's side shares no code with ours.

    VISIONKIT_DATASETS=... VISIONKIT_WEIGHTS=... python benchmarks/bccd.py [--seeds 0 1] [--output outputs/bench_bccd]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WEIGHTS = "resnet18_imagenet.pth"


def ours(seed: int, folder: Path) -> dict[str, float]:
    """One run of tools/train.py; finished runs are kept."""
    run = folder / f"visionkit_{seed}"
    record = folder / f"visionkit_{seed}.json"
    if not record.exists():
        start = time.perf_counter()
        command = [sys.executable, str(REPOSITORY / "tools/train.py"), "experiment=faster_rcnn_bccd", f"seed={seed}"]
        subprocess.run([*command, f"backbone.weights={WEIGHTS}", f"output={run}"], check=True)
        metrics = json.loads((run / "eval/metrics.json").read_text())
        result = {"AP": metrics["AP"], "AP50": metrics["AP50"], "seconds": time.perf_counter() - start}
        record.write_text(json.dumps(result))
    return json.loads(record.read_text())


def theirs(seed: int, folder: Path) -> dict[str, float]:
    """One run of bccd_torchvision.py; finished runs are kept."""
    record = folder / f"torchvision_{seed}.json"
    if not record.exists():
        data, weights = Path(os.environ["VISIONKIT_DATASETS"]), Path(os.environ["VISIONKIT_WEIGHTS"])
        script = str(Path(__file__).with_name("bccd_torchvision.py"))
        command = [sys.executable, script, "--root", str(data / "bccd"), "--weights", str(weights / WEIGHTS)]
        subprocess.run([*command, "--seed", str(seed), "--output", str(record)], check=True)
    return json.loads(record.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--output", type=Path, default=Path("outputs/bench_bccd"))
    args = parser.parse_args()
    if not {"VISIONKIT_DATASETS", "VISIONKIT_WEIGHTS"} <= set(os.environ):
        sys.exit("set VISIONKIT_DATASETS (a folder with bccd/) and VISIONKIT_WEIGHTS (a folder with the weights file).")
    args.output.mkdir(parents=True, exist_ok=True)
    sides = {"visionkit": [], "torchvision": []}
    for seed in args.seeds:  # interleaved
        sides["visionkit"].append(ours(seed, args.output))
        sides["torchvision"].append(theirs(seed, args.output))
    for name, results in sides.items():
        values = [result["AP"] for result in results]
        print(f"{name}: AP {statistics.fmean(values):.3f} ({', '.join(f'{v:.3f}' for v in values)}), "
              f"AP50 {statistics.fmean(r['AP50'] for r in results):.3f}")  # fmt: skip
    means = [statistics.fmean(r["AP"] for r in results) for results in sides.values()]
    print(f"ratio of mean AP, visionkit over torchvision: {means[0] / means[1]:.3f}")


if __name__ == "__main__":
    main()

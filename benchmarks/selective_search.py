"""Selective search beside OpenCV's, on this machine: seconds, boxes and recall, both on one core.

    python benchmarks/selective_search.py --opencv FOLDER

OpenCV has it only in its contrib package, which cannot be installed beside the one that the kit needs. Unpack it in a
folder of its own and name that folder:

    pip install --no-deps --target FOLDER opencv-contrib-python-headless

Without --opencv only ours is measured. OpenCV runs in a process of its own, and every picture goes to both in turn, so
that both see the same moments of a busy machine. The pictures are generated scenes, and COCO's of `coco_mini` under
VISIONKIT_DATASETS, ten of which are brought to 500 x 375 for the time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads slow a shared machine thirty-fold
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

Boxes = np.ndarray  # (P, 4) float32, best first
OTHER = """
import sys, json, time
sys.path.insert(0, sys.argv[1])
import cv2, numpy as np
cv2.setNumThreads(1)
for line in sys.stdin:
    image = np.load(line.strip())[..., ::-1].copy()
    start, clock = time.perf_counter(), time.process_time()
    cv2.setRNGSeed(0)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(image)
    search.switchToSelectiveSearchFast()
    boxes = np.asarray(search.process(), float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    seconds = time.perf_counter() - start, time.process_time() - clock
    print(json.dumps([*seconds, boxes.tolist()]), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opencv", type=Path, help="folder with an unpacked opencv-contrib-python-headless")
    parser.add_argument("--repeats", type=int, default=5, help="of the timing, interleaved")
    parser.add_argument("--pictures", type=int, default=200, help="at most so many of each data set for the recall")
    arguments = parser.parse_args()
    other = None if arguments.opencv is None else _other(arguments.opencv)
    sides: dict[str, Callable[[np.ndarray], tuple[float, float, Boxes]]] = {"visionkit": _ours()}
    if other is not None:
        sides["opencv"] = other
    for name, index, smallest in _data():
        index = index.select(range(min(len(index), arguments.pictures)))
        if name == "coco_mini":
            _times("photographs, 500 x 375", _photographs(index, 10), sides, arguments.repeats)
        else:
            _times("scenes, 112 to 160 px", _pictures(index, 20), sides, arguments.repeats)
        _recall(name, index, smallest, sides)


def _ours() -> Callable[[np.ndarray], tuple[float, float, Boxes]]:
    from visionkit.ops.selective_search import SelectiveSearch

    search = SelectiveSearch("fast")
    search(np.zeros((32, 32, 3), np.uint8))  # compiles

    def call(image: np.ndarray) -> tuple[float, float, Boxes]:
        start, clock = time.perf_counter(), time.process_time()
        boxes, _ = search(image)
        return time.perf_counter() - start, time.process_time() - clock, boxes

    return call


def _other(folder: Path) -> Callable[[np.ndarray], tuple[float, float, Boxes]]:
    import tempfile

    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    place = Path(tempfile.mkdtemp()) / "picture.npy"

    def call(image: np.ndarray) -> tuple[float, float, Boxes]:
        assert process.stdin is not None and process.stdout is not None
        np.save(place, image)
        process.stdin.write(f"{place}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"OpenCV's side has ended; is its contrib package in {folder}?")
        seconds, clock, boxes = json.loads(line)
        return seconds, clock, np.array(boxes, np.float32).reshape(-1, 4)

    return call


def _data() -> list[tuple[str, object, float]]:
    from visionkit.data.coco import read_coco
    from visionkit.data.scenes import scenes

    found: list[tuple[str, object, float]] = [("scenes", scenes().val, 0.0)]
    shared = os.environ.get("VISIONKIT_DATASETS")
    if shared:
        root = Path(shared) / "coco_mini"
        index = read_coco(str(root / "annotations/instances_val2017.json"), str(root / "val2017"))
        found.append(("coco_mini", index, 32.0))
    return found


def _pictures(index, count: int) -> list[np.ndarray]:
    from visionkit.data.image import read_image

    return [read_image(index.path(i)) for i in range(min(count, len(index)))]


def _photographs(index, count: int) -> list[np.ndarray]:
    wide = [image for image in _pictures(index, 4 * count) if image.shape[1] > image.shape[0]]
    return [np.asarray(Image.fromarray(image).resize((500, 375))) for image in wide[:count]]


def _times(title: str, images: list[np.ndarray], sides, repeats: int) -> None:
    """Medians over pictures of the median over repeats; of a busy machine the processor's own seconds say more."""
    taken = {name: np.zeros((len(images), repeats, 2)) for name in sides}
    counts = {name: [0] * len(images) for name in sides}
    for i, image in enumerate(images):
        for repeat in range(repeats):
            for name, call in sides.items():
                *seconds, boxes = call(image)
                taken[name][i, repeat] = seconds
                counts[name][i] = len(boxes)
    print(f"{title}, {len(images)} pictures, one core")
    for name, values in taken.items():
        wall, clock = (float(np.median(np.median(values[..., k], axis=1))) for k in (0, 1))
        boxes = f"{statistics.mean(counts[name]):.0f} boxes, {max(counts[name])} at most"
        print(f"  {name:<10} {wall * 1000:7.1f} ms, {clock * 1000:7.1f} ms of the processor; {boxes}")
    if len(taken) == 2:
        ours, theirs = (np.median(values, axis=1) for values in taken.values())  # (I, 2)
        ratio = np.median(theirs / ours, axis=0)
        print(f"  -> {ratio[0]:.2f} x, {ratio[1]:.2f} x of the processor's time", flush=True)


def _recall(name: str, index, smallest: float, sides) -> None:
    """At all boxes, and at equal counts."""
    from visionkit.evaluation.proposal_recall import coverage
    from visionkit.evaluation.truth import TruthTable

    truth, images = TruthTable.from_index(index), _pictures(index, len(index))
    found = {side: [call(image)[2] for image in images] for side, call in sides.items()}
    fewest = [min(len(found[side][i]) for side in sides) for i in range(len(images))]
    larger = f" larger than {smallest:g} x {smallest:g} px" if smallest else ""
    print(f"{name}, {len(images)} pictures, objects{larger}: recall at IoU 0.5, at 0.7, AR, MABO")
    for side, boxes in found.items():
        for title, count in (("all", None), ("as many as the other", fewest), ("300", [300] * len(images))):
            kept = boxes if count is None else [b[:c] for b, c in zip(boxes, count, strict=True)]
            cover = coverage(lambda i, kept=kept: kept[i], truth, smallest=smallest)
            figures = (cover.recall(0.5), cover.recall(0.7), cover.average_recall(), cover.mean_best_overlap())
            text = "  ".join(f"{figure[-1]:.3f}" for figure in figures)
            print(f"  {side:<10} {title:<20} {cover.boxes_an_image[-1]:6.0f} boxes  {text}", flush=True)


if __name__ == "__main__":
    main()

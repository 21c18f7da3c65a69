"""Large pictures segmented by tiles: the most memory it takes, and how far the labels are from the whole picture's.

python benchmarks/tiles.py [--checkpoint PATH] [--image PATH] [--whole]

The model is an FCN-8s on ResNet-18 with 21 classes, with the published weights where VISIONKIT_WEIGHTS has them and
class layers of fixed random numbers, or the one of a checkpoint; the picture is made of generated scenes, or a file's.
Peak resident memory of a picture of 4000 x 3000 pixels, in a process of its own; `--whole` measures the same picture
seen whole too. Then, for 1600 x 1200 pixels, how many labels differ from those of the whole picture, and by how much
the probability of the best class differs at most and on average, for several overlaps and margins.
"""

import argparse
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

LARGE, SMALL = (3000, 4000), (1200, 1600)
SETTINGS = (  # size, overlap, margin; half the receptive field of ResNet-18 is 217 pixels
    (512, 0, 0), (512, 64, 16), (512, 128, 0), (512, 128, 32), (512, 256, 64), (512, 256, 128), (768, 448, 224),
)  # fmt: skip
CLASSES = 21


def make_model(checkpoint):
    import torch
    from torch import nn

    if checkpoint:
        import visionkit

        return visionkit.load(checkpoint).model
    from visionkit.backbones.resnet import resnet18
    from visionkit.models.build_segmenter import fcn

    torch.manual_seed(0)
    published = os.path.join(os.environ.get("VISIONKIT_WEIGHTS", ""), "resnet18_imagenet.pth")
    model = fcn(resnet18(weights=published if os.path.exists(published) else None), CLASSES, stride=8)
    for layer in model.decoder.scores:
        nn.init.normal_(layer.weight, std=0.1)
    return model.eval().to(memory_format=torch.channels_last)


def make_picture(size, file):
    """(H, W, 3) uint8: generated scenes side by side, or a file's picture repeated."""
    import numpy as np

    from visionkit.data.image import read_image
    from visionkit.data.scene_picture import draw
    from visionkit.data.scene_settings import SceneSettings

    if file:
        one = read_image(file)
        return np.ascontiguousarray(
            np.tile(one, (size[0] // len(one) + 1, size[1] // one.shape[1] + 1, 1))[: size[0], : size[1]]
        )
    scenes = SceneSettings(image_size=(400, 400), object_size=(30, 250), objects=(3, 8))
    rows = []
    for y in range(size[0] // 400 + 1):
        rows.append(np.concatenate([draw(scenes, "val", 100 * y + x).image for x in range(size[1] // 400 + 1)], axis=1))
    return np.ascontiguousarray(np.concatenate(rows)[: size[0], : size[1]])


def peak():
    """GiB resident at most, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_memory(arguments, whole):
    from visionkit.models.segment_views import Tiles, Whole

    model, picture = make_model(arguments.checkpoint), make_picture(LARGE, arguments.image)
    before, start = peak(), time.perf_counter()
    (Whole() if whole else Tiles())(model, picture)
    name = "whole" if whole else str(Tiles())
    seconds = time.perf_counter() - start
    print(f"4000 x 3000, {model.num_classes} classes, {name}: peak {peak():.2f} GiB, of which {before:.2f} before the "
          f"picture was segmented; {seconds:.0f} s", flush=True)  # fmt: skip


def measure_seams(arguments):
    from visionkit.models.segment_views import Tiles, Whole

    model, picture = make_model(arguments.checkpoint), make_picture(SMALL, arguments.image)
    whole = Whole()(model, picture)
    print("1600 x 1200:")
    print("size  overlap  margin  labels that differ  largest difference of the probability   mean")
    for size, overlap, margin in SETTINGS:
        found = Tiles(size, overlap, margin)(model, picture)
        apart = (found.scores - whole.scores).abs()
        share = (found.labels != whole.labels).double().mean().item()
        most, mean = apart.max().item(), apart.mean().item()
        print(f"{size:4d}  {overlap:7d}  {margin:6d}  {share:18.4%}  {most:37.4f}  {mean:.5f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="of a segmenter; default: fixed weights")
    parser.add_argument("--image", help="a picture that is repeated to the sizes wanted; default: generated scenes")
    parser.add_argument("--whole", action="store_true", help="also the memory of the large picture seen whole")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", choices=("tiles", "whole", "seams"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is None:
        for part in ("tiles", "whole", "seams") if arguments.whole else ("tiles", "seams"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", part], check=True)
        return
    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.part == "seams":
        measure_seams(arguments)
    else:
        measure_memory(arguments, arguments.part == "whole")


if __name__ == "__main__":
    main()

"""What Grad-CAM finds of what occlusion finds, and at what share of the cost, on photographs of ImageNet.

python benchmarks/grad_cam_cost.py [--networks resnet18 squeezenet1_0] [--pictures 24] [--window 48] [--stride 22]

Selvaraju et al. (2017, "faithfulness") correlate maps with what the score loses where a patch is hidden. Here, for each
picture and its most probable class: the fall of the logit for every place of an occluder of the mean colour, and the
mean of each map under the occluder there; Spearman's rank correlation of the two over all places, then mean and
standard error over the pictures. "the middle" is a map that knows nothing but that photographs show things in their
middle. The cost: the median time of a window (in batches of 16, folded, channels_last) times the windows of a fine map
(--fine pixels apart), over the median time of one Grad-CAM of the same picture, in turn.
"""

import argparse
import time

import torch
from imagenet_pictures import NETWORKS, pictures, published
from scipy.stats import spearmanr
from torch import Tensor

from visionkit.explain.fold_norms import folded
from visionkit.explain.grad_cam import enlarge, grad_cam, guided_grad_cam, signed_grad_cam
from visionkit.explain.occlusion import Occluded, occlusion, starts
from visionkit.explain.rectified import guided_backpropagation
from visionkit.explain.saliency import saliency
from visionkit.explain.targets import class_logits, class_score
from visionkit.models.classifier import Classifier

LAYER = "tail"


def maps_of(model: Classifier, image: Tensor, label: int) -> dict[str, Tensor]:
    """Each method's map, (H, W)."""
    score = class_score(model, label)
    size = (image.shape[2], image.shape[3])
    rows, columns = (torch.linspace(-1, 1, side) for side in size)
    return {
        "Grad-CAM": enlarge(grad_cam(model, score, image, LAYER), size)[0],
        "Grad-CAM with its sign": enlarge(signed_grad_cam(model, score, image, LAYER), size)[0],
        "guided Grad-CAM": guided_grad_cam(model, score, image, LAYER)[0].abs().amax(dim=0),
        "guided backpropagation": guided_backpropagation(score, image)[0].abs().amax(dim=0),
        "saliency": saliency(score, image)[0],
        "the middle": -(rows[:, None].square() + columns.square()),
    }


def under_the_window(values: Tensor, found: Occluded) -> Tensor:
    """The mean of a map (H, W) at each place of the window, (places,)."""
    height, width = found.window
    means = [values[top : top + height, left : left + width].mean() for top in found.tops for left in found.lefts]
    return torch.stack(means)


def measure(name: str, count: int, window: int, stride: int, fine: int) -> None:
    model = published(name).to(memory_format=torch.channels_last)
    fast = class_logits(folded(model))
    correlations: dict[str, list[float]] = {}
    cams, windows = [], []
    for _file, image, _label in pictures(model, count):
        with torch.no_grad():
            label = int(model.scores(image)[0].argmax())
        start = time.perf_counter()
        grad_cam(model, class_score(model, label), image, LAYER)
        cams.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = occlusion(lambda given, label=label: fast(given)[:, label], image, window, stride)
        windows.append((time.perf_counter() - start) / (found.answers.numel() + 1))
        falls = (found.whole - found.answers).flatten()  # (places,)
        for method, values in maps_of(model, image, label).items():
            rank = spearmanr(under_the_window(values, found).numpy(), falls.numpy()).statistic
            correlations.setdefault(method, []).append(float(rank))
    print(f"{name}, {count} pictures, {len(falls)} windows of {window} px, stride {stride}:")
    for method, values in correlations.items():
        known = torch.tensor(values, dtype=torch.float64)
        known = known[known.isfinite()]  # a map that is the same everywhere has no ranks
        error = float(known.std() / len(known) ** 0.5)
        print(f"  {method}: rank correlation {float(known.mean()):.3f} +- {error:.3f} ({len(known)} maps)")
    places = len(starts(224, window, fine)) ** 2
    cam, one = (float(torch.tensor(values).median()) for values in (cams, windows))
    print(
        f"  one Grad-CAM {1000 * cam:.0f} ms, one window {1000 * one:.1f} ms, {places} of them at stride {fine}: ",
        end="",
    )
    print(f"{places * one / cam:.0f} times the cost", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--window", type=int, default=48)
    parser.add_argument("--stride", type=int, default=22)
    parser.add_argument("--fine", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.networks:
        measure(name, args.pictures, args.window, args.stride, args.fine)


if __name__ == "__main__":
    main()

"""What truncated SVD saves: VGG-16's fully connected layers on 2,000 regions, whole and as two thin ones each.

python benchmarks/svd.py [--threads 1]

Random weights; ranks 1024 and 256 as in Fast R-CNN (sec. 4.4, which measures 30 % less time for a whole image). The
same regions through both in turn, medians.
"""

import argparse

import torch
from timing import medians

from visionkit.backbones.vgg import vgg16
from visionkit.models.compress import low_rank


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=2000)
    parser.add_argument("--ranks", type=int, nargs=2, default=(1024, 256))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    whole, thin = vgg16().eval(), vgg16().eval()
    low_rank(thin, tuple(args.ranks))
    windows = torch.randn(args.regions, 512, 7, 7).relu()
    seconds = medians({"whole": lambda: whole.tail(windows), "thin": lambda: thin.tail(windows)}, args.repeats, 1)
    less = 1 - seconds["thin"] / seconds["whole"]
    print(
        f"VGG-16's fc6 and fc7 on {args.regions} regions, {args.threads} thread(s): {seconds['whole']:.2f} s whole, "
        f"{seconds['thin']:.2f} s with ranks {args.ranks[0]} and {args.ranks[1]}: {less:.0%} less time"
    )


if __name__ == "__main__":
    main()

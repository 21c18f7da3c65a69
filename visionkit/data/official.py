"""The official addresses of the public data sets, with sizes and checksums.

The MD5 sums are the ones in common use for these files. They show a damaged file, not a forged one, and none of the
servers offers anything better. Licences and citations: datasets/README.md.
"""

from dataclasses import dataclass

from visionkit.data.download import RemoteFile


@dataclass(frozen=True)
class OfficialSet:
    """The files that make one data set, and where they go."""

    folder: str  # under datasets/, as configs/data/*.yaml expect it
    files: tuple[RemoteFile, ...]
    strip: int = 0  # leading path parts of the archives to leave off
    unpack: bool = True  # False: the files are no archives and stay as they are


def _remote(url: str, size: int, md5: str) -> RemoteFile:
    return RemoteFile(url, size, f"md5:{md5}")


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_COCO = "http://images.cocodataset.org"
_MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"  # the author's own server asks for a password now
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_CIFAR = "https://www.cs.toronto.edu/~kriz"

# VOC's archives hold VOCdevkit/VOC2007/... and VOCdevkit/VOC2012/...; side by side both can be trained on together.
_VOC07 = OfficialSet(
    "VOCdevkit",
    (
        _remote(f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar", 460_032_000, "c52e279531787c972589f7e41ab4ae64"),
        _remote(f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar", 451_020_800, "b6e924de25625d8de591ea690078ad9f"),
    ),
    strip=1,
)
_VOC12 = OfficialSet(
    "VOCdevkit",
    (_remote(f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar", 1_999_639_040, "6cd6e144f989b92b3379bac3b3de84fd"),),
    strip=1,
)
_COCO17 = OfficialSet(
    "coco",
    (
        _remote(f"{_COCO}/annotations/annotations_trainval2017.zip", 252_907_541, "f4bbac642086de4f52a3fdda2de5fa2c"),
        _remote(f"{_COCO}/zips/val2017.zip", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80"),
        _remote(f"{_COCO}/zips/train2017.zip", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2"),
    ),
)

_MNIST = OfficialSet(
    "mnist",
    (
        _remote(f"{_MNIST_MIRROR}/train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        _remote(f"{_MNIST_MIRROR}/train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        _remote(f"{_MNIST_MIRROR}/t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        _remote(f"{_MNIST_MIRROR}/t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    unpack=False,
)
_FASHION_MNIST = OfficialSet(
    "fashion_mnist",
    (
        _remote(f"{_FASHION}/train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        _remote(f"{_FASHION}/train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        _remote(f"{_FASHION}/t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        _remote(f"{_FASHION}/t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    unpack=False,
)
_CIFAR10 = OfficialSet(
    "cifar10",
    (_remote(f"{_CIFAR}/cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),),
    strip=1,
)
_CIFAR100 = OfficialSet(
    "cifar100",
    (_remote(f"{_CIFAR}/cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),),
    strip=1,
)

OFFICIAL = {
    "voc07": _VOC07,
    "voc12": _VOC12,
    "coco": _COCO17,
    "coco17": _COCO17,
    "mnist": _MNIST,
    "fashion_mnist": _FASHION_MNIST,
    "cifar10": _CIFAR10,
    "cifar100": _CIFAR100,
}

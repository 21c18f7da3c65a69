"""The official addresses of the public data sets, with sizes and checksums.

The MD5 sums are the ones in common use for these files. They show a damaged file, not a forged one, and neither
server offers anything better. Licences and citations: datasets/README.md.
"""

from dataclasses import dataclass

from visionkit.data.download import RemoteFile


@dataclass(frozen=True)
class OfficialSet:
    """Archives that make one data set, and where they go."""

    folder: str  # under datasets/, as configs/data/*.yaml expect it
    files: tuple[RemoteFile, ...]
    strip: int = 0  # leading path parts of the archives to leave off


def _remote(url: str, size: int, md5: str) -> RemoteFile:
    return RemoteFile(url, size, f"md5:{md5}")


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_COCO = "http://images.cocodataset.org"

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

OFFICIAL = {"voc07": _VOC07, "voc12": _VOC12, "coco": _COCO17, "coco17": _COCO17}

"""A generated crowd: pictures of many people seen from above, with a point on every head.

The folder is named after the digest of the settings and appears in one rename: it is whole or it is not there. Layout
of `ROOT/DIGEST/`, which `visionkit.data.points_csv` reads like anybody's own: `images/*.jpg`, `train.csv`, `val.csv`
and `crowds.json` with the settings.
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from visionkit.data.adaptive_kernels import ADAPTIVE, Kernel
from visionkit.data.crowd_picture import draw_crowd
from visionkit.data.crowd_settings import GENERATOR_VERSION, SPLITS, CrowdSettings
from visionkit.data.points import CountingData, join_points
from visionkit.data.points_csv import read_points
from visionkit.data.progress import Progress
from visionkit.data.scenes import default_root
from visionkit.errors import DataError


def crowds(root: str | None = None, kernel: Kernel = ADAPTIVE, **settings: Any) -> CountingData:
    """The generated crowds of these settings; generated on first use, reused afterwards.

    Args:
        root: folder that holds one folder per settings; None is `datasets/crowds` of the clone.
        kernel: how widely each head is spread.
        settings: the fields of `CrowdSettings`.
    Raises:
        ConfigError: an unknown key or an impossible value.
        DataError: the folder cannot be written.
    """
    checked = CrowdSettings.of(settings)
    folder = generate_crowds(default_root().parent / "crowds" if root is None else Path(root), checked)
    splits = (read_points(folder / f"{split}.csv", folder / "images", "person", kernel) for split in SPLITS)
    return join_points(*splits)


def generate_crowds(root: Path, settings: CrowdSettings) -> Path:
    """Makes `root/DIGEST` unless it is there already, and returns it. Safe when several processes ask at once."""
    folder = root / settings.digest()
    if (folder / "crowds.json").is_file():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=root))
    except OSError as error:
        raise DataError(f"crowds: cannot write to {root}: {error.strerror}.") from error
    try:
        _write(building, settings)
        building.chmod(0o755)  # mkdtemp makes it private
        try:
            os.replace(building, folder)
        except OSError:
            if not (folder / "crowds.json").is_file():  # another process was faster: its folder is as good
                raise
    except OSError as error:
        raise DataError(f"crowds: cannot write {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _write(root: Path, settings: CrowdSettings) -> None:
    (root / "images").mkdir()
    total = sum(settings.images(split) for split in SPLITS)
    with Progress(f"generating crowds {settings.digest()}", total, "pictures") as progress:
        for split in SPLITS:
            lines = ["file,x,y\n"]
            for number in range(settings.images(split)):
                picture, name = draw_crowd(settings, split, number), f"{split}_{number:06d}.jpg"
                quality = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
                done, data = cv2.imencode(".jpg", picture.image[:, :, ::-1], quality)
                if not done:
                    raise DataError("crowds: OpenCV could not encode a picture as JPEG.")
                (root / "images" / name).write_bytes(data.tobytes())
                lines += [f"{name},{x:.2f},{y:.2f}\n" for x, y in picture.points.tolist()] or [f"{name},,\n"]
                progress.advance()
            (root / f"{split}.csv").write_text("".join(lines))
    stated = {"generator_version": GENERATOR_VERSION, "opencv": cv2.__version__, "settings": asdict(settings)}
    (root / "crowds.json").write_text(json.dumps(stated, indent=2) + "\n")

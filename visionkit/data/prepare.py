"""Brings a data set to disk in the layout that the readers expect: download, check, unpack; or generate."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from visionkit.data.archives import extract
from visionkit.data.download import download
from visionkit.data.official import OFFICIAL, OfficialSet
from visionkit.errors import ConfigError


def prepare(
    name: str,
    root: Path | None = None,
    mirror: str | None = None,
    keep_archives: bool = False,
    seed: int = 0,
    official: Mapping[str, OfficialSet] = OFFICIAL,
) -> Path:
    """Makes data set `name` (a key of `official`, or scenes) under `root` and returns its folder.

    root: None is VISIONKIT_DATASETS, else `datasets/` of the clone; generated scenes go to the clone in either case,
        since that is where training looks for them.
    mirror: an address that offers the files under their own names, in place of the official one; checksums stay.
    seed: of the generated scenes.

    What was unpacked is marked by `.NAME.unpacked` and neither fetched nor unpacked again; what was interrupted goes
    on where it stopped. Archives are removed after unpacking unless `keep_archives`.

    Raises ConfigError for an unknown name; DataError from `download` and `extract`.
    """
    if name == "scenes":
        from visionkit.data.scene_settings import settings_from
        from visionkit.data.scenes import default_root, generate

        return generate(default_root() if root is None else root / "scenes", settings_from({"seed": seed}))
    if name not in official:
        raise ConfigError(
            f"data={name}: there is no such data set to prepare; choose one of {', '.join(official)}, scenes, imagenet "
            "or shards."
        )
    wanted = official[name]
    folder = (datasets_folder() if root is None else root) / wanted.folder
    downloads = folder / ".downloads"
    for remote in wanted.files:
        marker = folder / f".{remote.name}.unpacked"
        if marker.exists() and marker.read_text() == remote.checksum:
            continue
        source = remote if mirror is None else replace(remote, url=f"{mirror.rstrip('/')}/{remote.name}")
        if not wanted.unpack:
            download(source, folder)  # which looks itself whether the file is there
            continue
        archive = download(source, downloads)
        extract(archive, folder, wanted.strip)
        marker.write_text(remote.checksum)
        if not keep_archives:
            archive.unlink()
    if downloads.is_dir() and not any(downloads.iterdir()):
        downloads.rmdir()
    return folder


def datasets_folder() -> Path:
    """Where data sets are put: VISIONKIT_DATASETS, else `datasets/` of the clone."""
    shared = os.environ.get("VISIONKIT_DATASETS")
    return Path(shared).expanduser() if shared else Path(__file__).resolve().parents[2] / "datasets"

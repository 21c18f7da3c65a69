"""The pictures that `tools/explain.py` is given, and where it writes: checked before a network is built."""

import os
from pathlib import Path
from typing import Any

from visionkit.errors import ConfigError, DataError
from visionkit.explain_settings import WITHOUT_PICTURES, asked_methods, spread_over
from visionkit.run_folder import usable_folder


def output_folder(config: Any) -> Path:
    """The folder for what is written. ConfigError when it is none, or lies among the pictures that are explained."""
    if not isinstance(config.output, str):
        raise ConfigError(f"output={config.output} is not a path.")
    folder = usable_folder(Path(config.output).expanduser())
    for place in _given(config):
        if place.is_dir() and folder.resolve().is_relative_to(place.resolve()):
            raise ConfigError(f"output={folder} lies in image={place}, whose pictures the sheets would join.")
    return folder


def source_pictures(config: Any) -> list[tuple[str, Path]]:
    """(name, file) of each picture, at most `limit`, spread over them; none where the check or the method takes none.

    Raises DataError for what is not there, ConfigError where pictures are wanted and not given.
    """
    from visionkit.data.source_images import is_video, list_images

    needless = config.check is not None or asked_methods(config.method)[0] in WITHOUT_PICTURES
    places = _given(config)
    if not places:
        if needless:
            return []
        raise ConfigError("image=... is wanted: a picture, a list of pictures, or a folder.")
    found: list[tuple[str, Path]] = []
    for place in places:
        if not place.exists():
            raise DataError(f"image={place} does not exist: a picture or a folder of pictures is wanted.")
        if is_video(place):
            raise ConfigError(f"image={place} is a video: explanations are of pictures; save the frames that matter.")
        found += [(_name(path, place), path) for path in list_images(place)]
    found = _told_apart(found)
    return [found[k] for k in spread_over(len(found), config.limit)]


def _given(config: Any) -> list[Path]:
    if config.image in (None, ""):
        return []
    listed = [config.image] if isinstance(config.image, str) else list(config.image)
    if not all(isinstance(one, str) for one in listed):
        raise ConfigError(f"image={config.image} is not a path.")
    return [Path(one) for one in listed]


def _told_apart(found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """With names from the common parent where two are the same, or their sheets would be."""
    if len({name for name, _ in found}) == len(found):
        return found
    common = Path(os.path.commonpath([path.parent for _, path in found]))
    names = [path.relative_to(common).as_posix() for _, path in found]
    return list({name: (name, path) for name, (_, path) in zip(names, found, strict=True)}.values())


def _name(path: Path, place: Path) -> str:
    return path.relative_to(place).as_posix() if place.is_dir() else path.name

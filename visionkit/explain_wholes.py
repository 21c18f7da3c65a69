"""The methods of `tools/explain.py` that make pictures of their own, each called with what the tool was given."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from visionkit.embedding_pictures import embedding
from visionkit.errors import ConfigError
from visionkit.explain.choose_target import AUTO, class_index
from visionkit.explain.layers import last_maps_layer
from visionkit.explain.priors import FOR_CLASSES, FOR_LAYERS
from visionkit.invariance import invariance
from visionkit.lesions import lesions
from visionkit.optimised_pictures import class_images, inversion
from visionkit.patch_pictures import patches
from visionkit.predictor import Predictor
from visionkit.unit_pictures import activations, filters

Pictures = Sequence[tuple[str, Path]]
Whole = Callable[[Any, Predictor, Pictures, Path], Sequence[Path]]


def _filters(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> Sequence[Path]:
    layers = [None] if config.layer == AUTO else _layers(config)
    return [path for layer in layers for path in filters(predictor, folder, layer)]


def _activations(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> Sequence[Path]:
    made: list[Path] = []
    for layer in _layers(config, predictor):
        for name, path in pictures:
            place = folder if len(pictures) == 1 else folder / name
            made += activations(predictor, path, place, layer, _channels(config), config.show or 24)
    return made


def _patches(
    config: Any, predictor: Predictor, pictures: Pictures, folder: Path, projected: bool = False
) -> Sequence[Path]:
    source = _folder(config)
    made: list[Path] = []
    for layer in _layers(config, predictor):
        made += patches(
            predictor,
            source,
            folder,
            layer,
            _channels(config),
            config.show or 8,
            batch_size=config.batch_size,
            limit=config.limit,
            projected=projected,
        )
    return made


def _inversion(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> Sequence[Path]:
    priors = replace(FOR_LAYERS, seed=config.seed, steps=config.steps or FOR_LAYERS.steps)
    layers = None if config.layer == AUTO else _layers(config)
    made: list[Path] = []
    for name, path in pictures:
        place = folder if len(pictures) == 1 else folder / name
        made += inversion(predictor, path, place, layers, priors)
    return made


def _class_image(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> Sequence[Path]:
    count, names = config.show or 4, predictor.names
    if config.target == AUTO:  # spread over the classes
        labels = sorted({k * len(names) // count for k in range(count)})
    else:
        labels = [class_index(names, str(config.target), "auto or a class")]
    priors = replace(FOR_CLASSES, seed=config.seed, steps=config.steps or FOR_CLASSES.steps)
    return class_images(predictor, folder, labels, priors)


def _embedding(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> Sequence[Path]:
    if config.limit is not None:
        raise ConfigError("limit does not go with method=embedding, which shows the whole folder.")
    return embedding(predictor, _folder(config), folder, seed=config.seed, batch_size=config.batch_size)


def _invariance(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> Sequence[Path]:
    found = invariance(predictor, [path for _, path in pictures], folder, batch_size=config.batch_size)
    print(found)
    return found.files


def _lesions(config: Any, predictor: Predictor, pictures: Pictures, folder: Path) -> Sequence[Path]:
    found = lesions(predictor, [path for _, path in pictures], folder, seed=config.seed, batch_size=config.batch_size)
    print(found)
    return found.files


WHOLES: dict[str, Whole] = {
    "filters": _filters,
    "activations": _activations,
    "patches": _patches,
    "deconvnet_patches": partial(_patches, projected=True),
    "inversion": _inversion,
    "class_image": _class_image,
    "embedding": _embedding,
    "invariance": _invariance,
    "lesions": _lesions,
}


def _layers(config: Any, predictor: Predictor | None = None) -> list[str]:
    """`c4` or `[c2,c4]`; auto = the last layer with places."""
    if config.layer == AUTO and predictor is not None:
        return [last_maps_layer(predictor.model)]
    return [config.layer] if isinstance(config.layer, str) else [str(layer) for layer in config.layer]


def _channels(config: Any) -> list[int] | None:
    if config.channels is None:
        return None
    listed = [config.channels] if isinstance(config.channels, int) else list(config.channels)
    return listed


def _folder(config: Any) -> Path:
    if not isinstance(config.image, str):
        raise ConfigError(f"method={config.method} looks through one folder of pictures: image=FOLDER.")
    return Path(config.image)

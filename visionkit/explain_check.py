"""`tools/explain.py check=...`: a table over methods, on a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionkit.assemble import load_data
from visionkit.config import from_plain
from visionkit.deletion_check import deletion_table
from visionkit.errors import ConfigError
from visionkit.explain.choose_target import AUTO, class_index
from visionkit.pointing_check import pointing_table
from visionkit.predictor import Predictor
from visionkit.randomisation_check import randomisation_table

METHODS = ("grad_cam", "guided_grad_cam", "guided_backpropagation", "deconvnet", "saliency", "smooth_grad", "edges")
PICTURES = 24  # that the slower checks look at


def check(config: Any, predictor: Predictor, folder: Path) -> None:
    """Prints the table of `config.check` and writes it, with its plot, into the folder."""
    index = _index(config, predictor)
    methods: Sequence[str] = METHODS if config.methods is None else [str(one) for one in _listed(config.methods)]
    layer = None if config.layer == "auto" else str(config.layer)
    label = None
    if config.target != AUTO:
        label = predictor.names[class_index(predictor.names, str(config.target), "auto or a class")]
    if config.check == "pointing":
        report: Any = pointing_table(predictor, index, methods, folder, layer, label=label, limit=config.limit)
    elif config.check == "deletion":
        report = deletion_table(
            predictor,
            index,
            methods,
            folder,
            layer,
            label,
            limit=config.limit or PICTURES,
            seed=config.seed,
            batch_size=config.batch_size,
        )
    else:
        report = randomisation_table(
            predictor, index, methods, folder, layer, label, limit=config.limit or PICTURES, seed=config.seed
        )
    print(report)
    print(f"{config.check}.txt, .csv and .png are in {folder}")


def _index(config: Any, predictor: Predictor) -> Any:
    """The validation split of `data`, or of what the checkpoint was trained on."""
    settings = config
    generated = (config.get("data") or {}).get(
        "detection"
    ) or {}  # what task=classify brings along unless told otherwise
    if config.checkpoint is None and generated.get("_target_") == "visionkit.data.scenes.scenes":
        raise ConfigError("a check of published weights wants pictures: data=imagenet_samples, data=folder ... .")
    if config.get("data") is None:
        if "data" not in predictor.config:
            raise ConfigError("a check wants pictures: data=... (with boxes for check=pointing).")
        settings = from_plain(predictor.config)
    return load_data(settings).val


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)

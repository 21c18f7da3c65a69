"""What `tools/explain.py` can be asked for, checked before anything heavy is imported."""

import difflib
from collections.abc import Sequence
from typing import Any

from visionkit.errors import ConfigError

# Of one picture and one number of the answer; several of them make a sheet.
PICTURE_METHODS = (
    "grad_cam",
    "hires_cam",
    "cam",
    "occlusion",
    "saliency",
    "smooth_grad",
    "guided_backpropagation",
    "deconvnet",
    "guided_grad_cam",
)
WHOLE_METHODS = (  # make pictures of their own
    "proposals",
    "activations",
    "filters",
    "patches",
    "deconvnet_patches",
    "inversion",
    "class_image",
    "embedding",
    "invariance",
    "lesions",
)
WITHOUT_PICTURES = ("filters", "class_image")
LAYER_LISTS = ("filters", "activations", "patches", "deconvnet_patches", "inversion")  # a picture for each layer
FILLERS = ("mean", "gray", "black", "white", "noise", "blur")
NOT_OF_CHECKS = {  # and what these keys are when nobody sets them
    "window": None,
    "stride": None,
    "filler": "mean",
    "precision": "fp32",
    "samples": 25,
    "noise": 0.15,
    "steps": None,
    "channels": None,
    "show": None,
    "columns": None,
    "method": "grad_cam",
    "image": None,
}
CHECKS = ("pointing", "deletion", "randomisation")
ALL = "all"


def asked_methods(method: Any) -> tuple[str, ...]:
    """`grad_cam`, `[grad_cam,saliency]` or `all` -> the methods. ConfigError for unknown ones, and for several of which
    one is not of a single picture."""
    listed = [method] if isinstance(method, str) else list(method) if isinstance(method, Sequence) else []
    if not listed:
        raise ConfigError(f"method={method}: a method or a list of them is wanted, such as [grad_cam,saliency].")
    if listed == [ALL]:
        return PICTURE_METHODS
    known = (*PICTURE_METHODS, *WHOLE_METHODS, ALL)
    for name in listed:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
            raise ConfigError(f"method={name}: there is no such method; {hint}")
        if len(listed) > 1 and name not in PICTURE_METHODS:
            raise ConfigError(f"method={name} makes pictures of its own and does not go into a list with others.")
    return tuple(dict.fromkeys(listed))


def checked_settings(config: Any) -> None:
    """ConfigError for a method, a check or a number out of its range, naming the key."""
    if config.check is not None and config.check not in CHECKS:
        raise ConfigError(f"check={config.check}: one of {', '.join(CHECKS)} is wanted.")
    if config.check is None:
        asked_methods(config.method)
    for key, least in (("samples", 1), ("batch_size", 1), ("show", 1), ("stride", 1), ("window", 1), ("steps", 1)) + (
        ("columns", 1),
    ):
        value = config[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConfigError(f"{key}={value}: a whole number of at least {least} is wanted.")
    if isinstance(config.noise, bool) or not isinstance(config.noise, int | float) or not 0 <= config.noise <= 1:
        raise ConfigError(f"noise={config.noise}: a number from 0 to 1 is wanted.")
    if config.filler not in FILLERS:
        raise ConfigError(f"filler={config.filler}: one of {', '.join(FILLERS)} is wanted.")
    for key in ("layer", "methods", "channels"):
        _check_list(key, config[key])
    many = isinstance(config.layer, Sequence) and not isinstance(config.layer, str)
    if many and (config.check is not None or asked_methods(config.method)[0] not in LAYER_LISTS):
        raise ConfigError(f"layer={config.layer}: one layer is wanted, such as {config.layer[0]}.")
    if config.precision not in ("fp32", "bf16"):
        raise ConfigError(f"precision={config.precision}: fp32 or bf16 is wanted.")
    _check_together(config)


def _check_list(key: str, value: Any) -> None:
    """Of layers and methods names, of channels whole numbers from 0; one, or a list that is not empty."""
    if value is None and key != "layer":
        return
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if key == "channels":
        good = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in listed)
    else:
        good = all(isinstance(one, str) for one in listed)
    if not good or not listed:
        kind = "whole numbers from 0, such as [0,7]" if key == "channels" else "names, such as [c2,c4]"
        kind = kind if key != "methods" else "names, such as [grad_cam,saliency]"
        raise ConfigError(f"{key}={value}: one of them or a list is wanted, of {kind}.")


def _check_together(config: Any) -> None:
    """ConfigError for a setting that what was asked for would not look at."""
    if config.check is not None:
        for key, usual in NOT_OF_CHECKS.items():
            if config[key] != usual:
                raise ConfigError(f"{key}={config[key]} does not go with check={config.check}, which would ignore it.")
        return
    if config.methods is not None:
        raise ConfigError(f"methods={config.methods} are those of a check: for pictures method=... is wanted.")
    method = asked_methods(config.method)[0]
    if config.target != "auto" and method in WHOLE_METHODS and method != "class_image":
        raise ConfigError(f"target={config.target} does not go with method={method}, which would ignore it.")
    if config.limit is not None and method in WITHOUT_PICTURES:
        raise ConfigError(f"limit={config.limit} does not go with method={method}, which looks at no picture.")
    if config.window is not None and config.stride is not None and config.stride > config.window:
        raise ConfigError(f"stride={config.stride} is larger than window={config.window}: pixels would be left out.")


def spread_over(count: int, limit: int | None) -> list[int]:
    """At most `limit` of the positions 0 ... count - 1, spread evenly, since classes often lie one after the other;
    None: all."""
    taken = count if limit is None else min(limit, count)
    return [k * count // taken for k in range(taken)]

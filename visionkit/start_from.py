"""Fine-tuning from a checkpoint of the kit: its weights are taken over where they fit, its classes joined by name."""

from pathlib import Path
from typing import Any

import torch

from visionkit.engine import checkpoint
from visionkit.engine.optim import has_prefix
from visionkit.errors import ConfigError, some_of


def in_the_order_of(path: str | Path, data: Any) -> Any:
    """The data with the class list of a checkpoint, where both lists hold the same names in another order."""
    names = _names(path)
    if set(names) != set(data.names) or names == data.names:
        return data
    kind = type(data)  # both kinds of data are three fields: the splits, and the names that their labels point to
    return kind(data.train.rename(names), data.val.rename(names), names)


def start_from(path: str | Path, model: Any, names: tuple[str, ...]) -> list[str]:
    """Gives the model the checkpoint's weights. What has one output for each class (the model's `class_layers`) is kept
    only where both have the same classes, and begins afresh otherwise.

    Returns what a person should know of it, in sentences.
    Raises ConfigError when nothing at all fits, or the file is no checkpoint.
    """
    state = checkpoint.load(Path(path))
    known, same = _names(path), _names(path) == tuple(names)
    theirs, ours = checkpoint.weights_of(state), model.state_dict()
    theirs = _renamed(theirs, ours)
    # What says that something has been done to a model (its SVMs fitted, its trunks joined) is not true of a new run.
    # Nor are the weights that its classes had in the loss.
    flags = [key for key, value in ours.items() if value.dtype == torch.bool or key == "class_weights"]
    reset = [key for key in ours if not same and any(has_prefix(key, layer) for layer in model.class_layers)]
    same_shape = {key for key, value in ours.items() if key in theirs and theirs[key].shape == value.shape}
    fitting = [key for key in ours if key in same_shape and key not in (*reset, *flags)]
    # The mean and std of the pixels fit any model, and the biases of a head any with as many classes.
    learnt = {key for key, _ in model.named_parameters() if not any(has_prefix(key, k) for k in model.class_layers)}
    if not fitting or (learnt and not learnt.intersection(fitting)):
        raise ConfigError(
            f"start_from={path}: none of its {len(theirs)} tensors fits a parameter of this model; it was trained with "
            f"{_described(state)}."
        )
    with torch.no_grad():
        for key in fitting:
            ours[key].copy_(theirs[key])
    left = [key for key in ours if key not in fitting and key not in (*reset, *flags)]
    lines = [f"{path}: {len(fitting)} of {len(ours)} tensors taken over"]
    if not same:
        lines.append(
            f"the class list has changed ({some_of(known)} -> {some_of(names)}): the {len(reset)} tensors of the head "
            "begin afresh"
        )
    if left:
        lines.append(f"warning: {len(left)} tensors are not in {path} or have another shape, such as {left[0]}")
    return lines


def _renamed(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint's tensors, an RPN's under the names that it has here: one with a trunk of its own lies deeper."""
    deep, flat = "propose.rpn.", "propose."
    if any(key.startswith(deep) for key in ours) and not any(key.startswith(deep) for key in theirs):
        return {key.replace("propose.head.", f"{deep}head."): value for key, value in theirs.items()}
    if any(key.startswith(deep) for key in theirs) and not any(key.startswith(deep) for key in ours):
        return {key.replace(deep, flat): value for key, value in theirs.items()}
    return theirs


def _names(path: str | Path) -> tuple[str, ...]:
    names = checkpoint.load(Path(path)).get("meta", {}).get("names")
    if not names:
        raise ConfigError(f"start_from={path} holds no class names, so its classes cannot be joined.")
    return tuple(names)


def _described(state: dict[str, Any]) -> str:
    experiment = state.get("meta", {}).get("config", {}).get("experiment")
    return f"experiment={experiment}" if experiment else "another configuration"

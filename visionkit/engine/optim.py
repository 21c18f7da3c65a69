"""What an optimizer is given: parameter groups with their own decay and learning rate, and the scaled base rate.

The optimizers themselves are torch's, named in configs/optim/*.yaml and called with these groups.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from visionkit.errors import ConfigError

ParameterGroup = dict[str, Any]

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    *,
    norm_decay: float = 0.0,
    bias_decay: float = 0.0,
    lr_multipliers: Mapping[str, float] | None = None,
) -> list[ParameterGroup]:
    """Groups of the trainable parameters, in the order in which the model holds them; frozen ones are left out.

    Norm layers (and other vectors that scale) and biases get their own decay, none by default: decaying them only
    limits what a normalised network can express (He et al. 2019, "Bag of tricks", sec. 3.1).

    Args:
        model: the network.
        lr: base learning rate; `initial_lr` in each group.
        weight_decay: decay of everything that is neither norm nor bias.
        lr_multipliers: prefix of a parameter's name ("backbone", "backbone.layer4") -> factor on `lr`. The longest
            matching prefix counts.
    Returns:
        dicts with `name` ("weights", "backbone/norms" ...), `params`, `lr`, `initial_lr`, `weight_decay`.
    Raises:
        ConfigError: a prefix that no parameter has, or nothing to train.
    """
    multipliers = dict(lr_multipliers or {})
    names = [name for name, _ in model.named_parameters()]
    for prefix in multipliers:
        if not any(has_prefix(name, prefix) for name in names):
            raise ConfigError(f"lr_multipliers: no parameter of the model is called {prefix!r} or {prefix}.*.")
    decay = {"weights": weight_decay, "norms": norm_decay, "biases": bias_decay}
    norms = {f"{path}.{name}" if path else name for path, name in _norm_parameters(model)}
    groups: dict[str, ParameterGroup] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_bias = name.rpartition(".")[2] == "bias" and name not in norms
        kind = "biases" if is_bias else "norms" if name in norms or parameter.ndim <= 1 else "weights"
        prefix = max((p for p in multipliers if has_prefix(name, p)), key=len, default="")
        rate = lr * multipliers.get(prefix, 1.0)
        label = f"{prefix}/{kind}" if prefix else kind
        fresh = {"name": label, "params": [], "lr": rate, "initial_lr": rate, "weight_decay": decay[kind]}
        groups.setdefault(label, fresh)["params"].append(parameter)
    if not groups:
        raise ConfigError("the model has no trainable parameter: everything is frozen.")
    return list(groups.values())


def linear_scale(lr: float, base_batch: int | None, batch: int) -> tuple[float, str]:
    """The linear scaling rule (Goyal et al. 2017, sec. 2.1): the rate stated for `base_batch` images, for `batch`.

    Returns the rate and the sentence that tells the person. `base_batch` None: `lr` as it stands.
    """
    if base_batch is None or base_batch == batch:
        return lr, f"learning rate {lr:g} for {batch} images a step, as configured."
    scaled = lr * batch / base_batch
    sentence = f"learning rate {scaled:g} = {lr:g} x {batch} / {base_batch}, scaled linearly to {batch} images a step."
    return scaled, sentence


def has_prefix(name: str, prefix: str) -> bool:
    """Whether a dotted name is `prefix` or lies under it ("backbone.conv1" is under "backbone", not "back")."""
    return name == prefix or name.startswith(prefix + ".")


def _norm_parameters(model: nn.Module) -> list[tuple[str, str]]:
    layers = [(path, module) for path, module in model.named_modules() if isinstance(module, _NORMS)]
    return [(path, name) for path, module in layers for name, _ in module.named_parameters(recurse=False)]

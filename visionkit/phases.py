"""From the configuration's list of phases to what the engine runs (DESIGN: a run is a list of phases)."""

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from visionkit.backbones.base import Backbone
from visionkit.backbones.chain import last_stage
from visionkit.config import instantiate, to_plain
from visionkit.engine.distributed import world_size
from visionkit.engine.optim import has_prefix, linear_scale, parameter_groups
from visionkit.engine.phases import FitPhase, Phase
from visionkit.errors import ConfigError
from visionkit.heads.fitted import FittedHead
from visionkit.heads.svm_box import SVMBoxHead, SVMScores
from visionkit.models.own_trunk import OwnTrunkRPN
from visionkit.rcnn import check_fit

KEYS = ("share", "freeze", "trainable", "lr", "losses", "fit", "evaluate")
FITS = "visionkit.fitted."  # where heads are fitted
REGION_FITS = "visionkit.rcnn."  # where SVMs and box regressors of regions are
WHOLE = "backbone"  # `freeze: backbone`: all of it
WEIGHTS = "visionkit.segmentation.fit_class_weights"  # what classes count in the loss of a segmenter
JOIN = "visionkit.alternating.share_trunk"
TRUNK = "trunk"  # `freeze: trunk`: all that leads to the maps that regions are cut from


def build_phases(config: Any, model: Any, data: Any, steps: int) -> tuple[list[Phase | FitPhase], str]:
    """The phases of the group `phases`, in order, and the sentence on the learning rate.

    A phase has `share` of the run's `steps` (those without one share what is left), keeps what `freeze` says
    ("backbone", "trunk", or a stage up to which it is frozen) and what `trainer.freeze` froze, trains the parameters
    under the prefixes `trainable`, with `lr` times the rate and those `losses` that are named. Or it has `fit`, a
    function that is called once with `model` and `data`. `evaluate: false` marks a stage on the way, which is never the
    result.

    Raises ConfigError for an unknown key, shares that are not 1 together, or a stage, prefix or optimizer that is not.
    """
    settings: Mapping[str, Any] = to_plain(config)["phases"]
    if not isinstance(settings, Mapping) or not settings:
        raise ConfigError("phases needs at least one phase: a name with its settings, see configs/phases/.")
    for name, phase in settings.items():
        _check_keys(name, phase)
    if not list(settings.values())[-1].get("evaluate", True):
        raise ConfigError(
            f"phases.{list(settings)[-1]}: the last phase makes the result, so it cannot have evaluate: false."
        )
    _check_fits(settings, model)
    _check_own_trunk(settings, model)
    trained = {name: phase for name, phase in settings.items() if "fit" not in phase}
    counts = _steps(trained, steps)
    rate, sentence = _rate(config)
    phases: list[Phase | FitPhase] = []
    for name, phase in settings.items():
        if "fit" in phase:
            fit = instantiate(getattr(config.phases, name).fit)
            if phase["fit"]["_target_"].startswith(REGION_FITS):
                check_fit(fit, model, data)
            phases.append(FitPhase(name, partial(_fitted, fit, data), phase.get("evaluate", True)))
        else:
            phases.append(_trained(name, phase, counts[name], rate, config, model))
    return phases, sentence


def trainable_parameters(phases: Sequence[Phase | FitPhase], model: nn.Module) -> int:
    """The most parameters that any one of the phases trains."""
    counts = [0]
    for phase in phases:
        if isinstance(phase, Phase) and callable(phase.trainable):
            counts.append(sum(p.numel() for name, p in model.named_parameters() if phase.trainable(name, p)))
    return max(counts)


def depth_multipliers(model: nn.Module, backbone: Backbone, factor: float) -> dict[str, float]:
    """Learning rates that fall with the distance from the head (Howard and Ruder 2018, sec. 3.2): by module name,
    `factor` for the stages of the largest stride, its square for those before, and so on; heads keep the full rate."""
    if factor == 1.0:
        return {}
    names = {id(module): name for name, module in model.named_modules()}
    network = backbone.innermost()
    strides = sorted({stage.stride for stage in network.stages.values()}, reverse=True)
    found: dict[str, float] = {}
    for stage, modules in network.parts().items():
        power = 1 + strides.index(network.stages[stage].stride)
        found |= {names[id(module)]: factor**power for module in modules if any(True for _ in module.parameters())}
    return found


def _fitted(fit: Callable[..., Any], data: Any, model: nn.Module) -> Mapping[str, float | None] | None:
    found: Mapping[str, float | None] | None = fit(model=model, data=data)
    return found


def _check_keys(name: str, phase: Any) -> None:
    if not isinstance(phase, Mapping):
        raise ConfigError(f"phases.{name}={phase}: a phase is a group of settings: {', '.join(KEYS)}.")
    for key in phase:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"a phase has {', '.join(KEYS)}."
            raise ConfigError(f"unknown key phases.{name}.{key}; {hint}")
    if "fit" in phase and set(phase) - {"fit", "evaluate"}:
        raise ConfigError(f"phases.{name} has a fit, which is a single call, and so nothing else.")
    for key, least in (("share", 0), ("lr", 0)):
        value = phase.get(key)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not (number and value > least):
            raise ConfigError(f"phases.{name}.{key}={value}: a number above 0 is wanted.")
    if not isinstance(phase.get("evaluate", True), bool):
        raise ConfigError(f"phases.{name}.evaluate={phase['evaluate']}: true or false is wanted.")
    if not isinstance(phase.get("freeze"), str | None):
        raise ConfigError(f"phases.{name}.freeze={phase['freeze']}: the name of a stage is wanted, or {WHOLE}.")
    if "fit" in phase and not (isinstance(phase["fit"], Mapping) and "_target_" in phase["fit"]):
        raise ConfigError(f"phases.{name}.fit={phase['fit']}: a group with a _target_ is wanted, see configs/phases/.")
    for key in ("trainable", "losses"):
        value = phase.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(word, str) for word in value)):
            raise ConfigError(f"phases.{name}.{key}={value}: a list of names is wanted.")


def _check_fits(settings: Mapping[str, Any], model: Any) -> None:
    """A head that is fitted needs a phase that fits it, and the other way round."""
    fitted = isinstance(getattr(model, "head", None), FittedHead)
    fits = [name for name, phase in settings.items() if "fit" in phase and phase["fit"]["_target_"].startswith(FITS)]
    if fitted and (not fits or len(settings) > len(fits)):
        raise ConfigError("task.head=svm and nearest are fitted and not trained: choose phases=svm or phases=nearest.")
    if fits and not fitted:
        raise ConfigError(f"phases.{fits[0]} fits a head, and this one is trained: set task.head=svm or nearest.")
    _check_region_fits(settings, getattr(model, "head", None))
    for name, phase in settings.items():
        weighs = "fit" in phase and phase["fit"]["_target_"] == WEIGHTS
        if weighs and not hasattr(model, "class_weights"):
            raise ConfigError(f"phases.{name} weighs classes of pixels, which are for task=fcn and its kin.")


def _check_own_trunk(settings: Mapping[str, Any], model: Any) -> None:
    """An RPN with a trunk of its own has to be joined to the detector's one day."""
    joins = [phase["fit"]["_target_"] for phase in settings.values() if "fit" in phase]
    if isinstance(getattr(model, "propose", None), OwnTrunkRPN) and JOIN not in joins:
        raise ConfigError("task.alternating=true begins with two trunks, which phases=four_step joins: choose it.")


def never_trained(phases: Sequence[Phase | FitPhase], model: nn.Module) -> list[str]:
    """A sentence where no phase trains some part that nothing freezes; none for a run of one phase or of fits."""
    trained = [p.trainable for p in phases if isinstance(p, Phase) and isinstance(p.trainable, _Chosen)]
    left = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and not any(name in one.chosen for one in trained)
        and not all(name in one.frozen for one in trained)
    ]
    if len(trained) < 2 or not left:
        return []
    return [f"warning: no phase trains {len(left)} tensors, such as {left[0]}: they stay as they began"]


def _check_region_fits(settings: Mapping[str, Any], head: Any) -> None:
    """R-CNN's head needs its SVMs, on vectors that change no more."""
    targets = {name: phase["fit"]["_target_"] for name, phase in settings.items() if "fit" in phase}
    fits = {name: target for name, target in targets.items() if target.startswith(REGION_FITS)}
    for name, target in fits.items():
        kind = SVMBoxHead if target == f"{REGION_FITS}fit_box_regressors" else SVMScores
        if not isinstance(head, kind):
            known = "task=rcnn" if kind is SVMBoxHead else "task=rcnn, or task=fast_rcnn task.head=svm"
            raise ConfigError(f"phases.{name} fits what this task's head has not: choose {known}.")
    if isinstance(head, SVMScores) and f"{REGION_FITS}fit_svms" not in fits.values():
        wanted = "rcnn" if isinstance(head, SVMBoxHead) else "region_svm"
        raise ConfigError(f"the head's SVMs are fitted by a phase of their own: choose phases={wanted}.")
    names = list(settings)
    for name in names[min((names.index(one) for one in fits), default=len(names)) :]:
        if "fit" not in settings[name]:
            raise ConfigError(f"phases.{name} trains the network that SVMs were fitted to before: put the fits last.")


def _steps(trained: Mapping[str, Mapping[str, Any]], total: int) -> dict[str, int]:
    """Steps of each phase; together they are `total`, each has at least one."""
    if not trained:
        return {}
    given = {name: phase.get("share") for name, phase in trained.items()}
    left = 1.0 - sum(share for share in given.values() if share is not None)
    open_ones = [name for name, share in given.items() if share is None]
    if left < -1e-6 or (not open_ones and left > 1e-6) or (open_ones and left < 1e-6):
        shares = ", ".join(f"{name} {share}" for name, share in given.items())
        raise ConfigError(f"the shares of the phases have to be 1 together, not {shares}.")
    if total < len(trained):
        raise ConfigError(f"{len(trained)} phases need at least as many steps, and the run has {total}.")
    edges, sum_so_far = [0], 0.0
    for position, share in enumerate(given.values(), 1):
        sum_so_far += left / len(open_ones) if share is None else share
        edge = round(sum_so_far * total)
        edges.append(min(max(edge, edges[-1] + 1), total - (len(given) - position)))
    return {name: end - begin for name, begin, end in zip(given, edges, edges[1:], strict=False)}


def _rate(config: Any) -> tuple[float, str]:
    trainer = config.trainer
    return linear_scale(config.optim.lr, trainer.base_batch, trainer.batch_size * trainer.accumulate * world_size())


def _trained(name: str, phase: Mapping[str, Any], steps: int, rate: float, config: Any, model: Any) -> Phase:
    optim = config.optim
    multipliers = depth_multipliers(model, model.backbone, optim.depth_factor) | dict(optim.lr_multipliers)
    if isinstance(getattr(model, "propose", None), OwnTrunkRPN):  # its trunk is a copy of the backbone's
        own = {key: value for key, value in multipliers.items() if key.startswith("encode.backbone")}
        multipliers |= {key.replace("encode.backbone", "propose.trunk", 1): value for key, value in own.items()}
    lr = rate * (phase.get("lr") or 1.0)
    groups = partial(
        parameter_groups,
        lr=lr,
        weight_decay=optim.weight_decay,
        norm_decay=optim.norm_decay,
        bias_decay=optim.bias_decay,
        lr_multipliers=_of_parameters(multipliers, model),
    )
    optimizer = instantiate(optim.optimizer)
    return Phase(
        name,
        steps,
        groups,
        lambda found: optimizer(found, lr=lr),
        instantiate(config.schedule),
        trainable=_trainable(name, phase, model),
        losses=phase.get("losses"),
        evaluate=phase.get("evaluate", True),
    )


def _of_parameters(multipliers: dict[str, float], model: nn.Module) -> dict[str, float]:
    """Those that some parameter has: an own trunk has no tail."""
    names = [name for name, _ in model.named_parameters()]
    return {
        key: value
        for key, value in multipliers.items()
        if not key.startswith("propose.trunk") or any(has_prefix(name, key) for name in names)
    }


def _trainable(name: str, phase: Mapping[str, Any], model: Any) -> Callable[[str, nn.Parameter], bool]:
    """Which parameters the phase trains: of those that the run begins with, without what it freezes."""
    parameters = dict(model.named_parameters())
    at_start = {key for key, parameter in parameters.items() if parameter.requires_grad}
    frozen = _frozen(name, phase.get("freeze"), model.backbone)
    prefixes: Collection[str] | None = phase.get("trainable")
    for prefix in prefixes or ():
        if not any(has_prefix(key, prefix) for key in parameters):
            raise ConfigError(f"phases.{name}.trainable: no parameter of the model is called {prefix!r} or {prefix}.*.")
    chosen = {
        key
        for key in at_start
        if id(parameters[key]) not in frozen and (prefixes is None or any(has_prefix(key, p) for p in prefixes))
    }
    if not chosen:
        raise ConfigError(f"phases.{name} freezes everything, so nothing is left to train.")
    return _Chosen(chosen, {key for key, parameter in parameters.items() if id(parameter) in frozen})


class _Chosen:
    """Whether a phase trains a parameter; `frozen` are those that it keeps because it was told to."""

    def __init__(self, chosen: set[str], frozen: set[str]) -> None:
        self.chosen, self.frozen = chosen, frozen

    def __call__(self, name: str, parameter: nn.Parameter) -> bool:
        return name in self.chosen


def _frozen(name: str, upto: str | None, backbone: Backbone) -> set[int]:
    """The identities of the parameters up to and including a stage, or of the whole backbone."""
    if upto is None:
        return set()
    if upto == WHOLE:
        return {id(parameter) for parameter in backbone.parameters()}
    parts = backbone.innermost().parts()
    if upto == TRUNK and backbone.innermost() is backbone:
        known = tuple(parts)
        upto = known[last_stage(backbone.region_stages, known)]
    if upto not in parts:
        raise ConfigError(
            f"phases.{name}.freeze={upto}: the stages are {', '.join(parts)}; or {WHOLE} for all of them, or {TRUNK} "
            "for those before the tail of a network without a pyramid."
        )
    found: set[int] = set()
    for stage, modules in parts.items():
        found |= {id(parameter) for module in modules for parameter in module.parameters()}
        if stage == upto:
            break
    return found

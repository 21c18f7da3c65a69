"""Networks of timm (Wightman, "PyTorch Image Models") as backbones; needs `pip install visionkit[timm]`.

One instance of timm's model serves as trunk and tail. Its maps are the stages, by their stride; the deepest is what
its head takes, and that head up to the logits is the tail. Detection goes through a feature pyramid.
"""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionkit.backbones.base import Backbone, Stage
from visionkit.backbones.chain import linear_classifier, require_stages
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.pretrained import LoadReport, initialise
from visionkit.errors import ConfigError


class FrozenNormAct(FrozenBatchNorm2d):
    """Stands in for timm's batch norms that have the activation inside (`BatchNormAct2d`)."""

    def __init__(self, channels: int, eps: float, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(channels, eps)
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


def freeze_batch_norms(module: nn.Module) -> None:
    """Puts a frozen norm with the same values in the place of every batch norm in the module; other norms stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            if hasattr(child, "act"):
                frozen = FrozenNormAct(child.num_features, child.eps, child.drop, child.act)  # type: ignore[arg-type]
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            freeze_batch_norms(child)


class TimmBackbone(Backbone):
    """A model of timm that has maps of several strides and ends in a mean over positions.

    Keys are timm's behind "model."; files have them with or without it.

    Args:
        model: made by timm, without classifier (`num_classes=0`).
        name: what timm calls it.
        dropout: before the classifier's linear layer.

    Raises:
        ConfigError: the model is of another kind, such as a plain vision transformer.
    """

    renamed_keys = ((r"^(?!model\.)", "model."),)
    dense_exact = True

    def __init__(self, model: Any, name: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.model, self.dropout = model, dropout
        strides = [level["reduction"] for level in getattr(model, "feature_info", ())]
        if len(set(strides)) < 2 or not hasattr(model, "forward_intermediates"):
            found = f"only maps of stride {strides[0]}" if strides else "no maps"
            raise ConfigError(
                f"timm's {name} gives {found}: a backbone needs several strides, as convolutional networks have "
                "(resnet10t, mobilenetv3_small_050, convnext_atto)"
            )
        self.indices = {f"c{stride.bit_length() - 1}": i for i, stride in enumerate(strides)}  # of one stride the last
        self.deepest = max(self.indices, key=lambda stage: self.indices[stage])
        self.region_stages = self.proposal_stages = (self.deepest,)
        self.window, self.min_size = 224 // strides[-1], strides[-1]
        self.resolution = model.pretrained_cfg["input_size"][-1]
        self.mean, self.std = tuple(model.pretrained_cfg["mean"]), tuple(model.pretrained_cfg["std"])
        self.classifier_keys = {f"model.{model.pretrained_cfg['classifier']}.": "linear."}
        try:
            self._explore({stage: strides[i] for stage, i in self.indices.items()}, name)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"timm's {name} does not take images of any size from {self.min_size} pixels on ({reason})"
            ) from error

    @torch.no_grad()
    def _explore(self, strides: dict[str, int], name: str) -> None:
        """Runs on an empty image: the channels of every stage, the modules on the way to it, and what the head is."""
        self.model.eval()
        images = torch.zeros(1, 3, self.min_size, self.min_size + 5)
        self.stages, self.paths = {}, {}
        before: list[str] = []
        for stage, stride in strides.items():
            maps, called = self._watch(lambda stage=stage: self._maps(images, (stage,))[stage])  # type: ignore[misc]
            limits = (self.min_size // stride, (self.min_size + 5) // stride + 1)
            if maps.ndim != 4 or any(side > limit for side, limit in zip(maps.shape[2:], limits, strict=True)):
                shape = tuple(maps.shape)
                raise ConfigError(f"timm's {name} gives maps {shape} where (B, C, h, w) of stride {stride} is needed")
            self.stages[stage] = Stage(maps.shape[1], stride)
            new = [path for path in called if not any(f"{other}.".startswith(f"{path}.") for other in before)]
            self.paths[stage] = tuple(
                path
                for path in new
                if not any(path.startswith(f"{other}.") for other in new)  # the outermost
            )
            before += called
        vectors, called = self._watch(lambda: self.model.forward_head(maps, pre_logits=True))
        head = [self.get_submodule(path) for path in called]
        pools = [i for i, module in enumerate(head) if getattr(module, "pool_type", None) == "avg"]
        weighted = [i for i, module in enumerate(head) if any(True for _ in module.parameters(recurse=False))]
        if not pools or (weighted and weighted[0] < pools[0]):
            raise ConfigError(f"timm's {name} has no head that begins with a mean over positions, as a tail here does")
        self.ends_in_mean = not weighted
        self.out_channels = vectors.shape[1]
        self.model.train()

    def _watch(self, call: Callable[[], Tensor]) -> tuple[Tensor, list[str]]:
        """What a call returns, and the names of the modules that ran, a module before what is inside it."""
        called: list[str] = []

        def note(name: str) -> Callable[..., None]:
            return lambda *_: called.append(name)

        inner = [(name, module) for name, module in self.named_modules() if name not in ("", "model")]
        hooks = [module.register_forward_pre_hook(note(name)) for name, module in inner]
        try:
            result = call()
        finally:
            for hook in hooks:
                hook.remove()
        return result, list(dict.fromkeys(called))

    def forward(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        self.require_size(images)
        require_stages(names, self.stages)
        return self._maps(images, names)

    def _maps(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        inner = sorted({self.indices[name] for name in names if name != self.deepest})
        maps: list[Tensor] = []
        found = {}
        if self.deepest not in names:
            if inner:
                maps = self.model.forward_intermediates(images, inner, stop_early=True, intermediates_only=True)
        elif inner:
            found[self.deepest], maps = self.model.forward_intermediates(images, inner)
        else:
            found[self.deepest] = self.model.forward_features(images)
        by_index = dict(zip(inner, maps, strict=True))
        return {name: found[name] if name in found else by_index[self.indices[name]] for name in names}

    def drop_tail(self, names: Sequence[str]) -> None:
        super().drop_tail(names)
        for (
            key
        ) in self.dropped_keys:  # timm's code asks for all its parts; an empty one takes any slice and does nothing
            parent, _, name = key.removesuffix(".").rpartition(".")
            setattr(self.get_submodule(parent), name, nn.Sequential())

    def tail_maps(self, windows: Tensor) -> Tensor:
        """The windows themselves where the head is only their mean, which `reduce` takes; else (R, C', 1, 1)."""
        if self.ends_in_mean:
            return windows
        return self.model.forward_head(windows, pre_logits=True)[:, :, None, None]

    def dense_tail(self, region_map: Tensor) -> Tensor:
        """The head on the mean of every window: (B, C, h, w) -> (B, C', h - window + 1, w - window + 1)."""
        if self.ends_in_mean:
            return region_map
        means = F.avg_pool2d(region_map, self.window, stride=1)  # (B, C, h', w')
        each = means.movedim(1, -1).flatten(0, 2)[:, :, None, None]  # (B * h' * w', C, 1, 1)
        vectors = self.tail_maps(each).flatten(1)  # (B * h' * w', C')
        return vectors.view(len(means), *means.shape[2:], -1).movedim(-1, 1)

    def new_classifier(self, num_classes: int) -> nn.Module:
        return linear_classifier(self.out_channels, num_classes, self.dropout)


def timm(
    model: str,
    weights: str | None = None,
    norm: str = "batch",
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> TimmBackbone:
    """A network of timm by its name there.

    Args:
        model: such as "resnet10t", or with the name of its weights: "resnet10t.c3_in1k".
        weights: None, "imagenet" for what timm publishes (it downloads), or a file; see `pretrained.load_weights`.
        norm: "batch" for the norms as timm has them, "frozen" for frozen ones instead of batch norms.
        dropout: before the classifier's linear layer.
        drop_path: of the last block, for the models that know it.

    Raises:
        ConfigError: timm is not installed, has no such model or weights, or the model is no backbone.
    """
    if norm not in ("batch", "frozen"):
        raise ConfigError(f"norm of a timm model must be batch (as timm has it) or frozen, not {norm!r}")
    try:
        from timm import create_model, is_model, list_models
    except ImportError as error:
        raise ConfigError("timm's models need the package timm: pip install visionkit[timm]") from error
    if not is_model(model):
        near = difflib.get_close_matches(model.split(".")[0], list_models()) or ["resnet10t", "convnext_atto"]
        raise ConfigError(f"timm has no model {model!r}; it has {', '.join(near)} and others, see timm.list_models()")
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}  # not every model knows it
    try:
        made = create_model(model, pretrained=weights == "imagenet", num_classes=0, **options)
    except Exception as error:  # a broken download can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"timm cannot make {model} with weights {weights or 'null'} ({reason})") from error
    if norm == "frozen":
        freeze_batch_norms(made)
    net = TimmBackbone(made, model, dropout)
    if weights == "imagenet":
        net.load_report = LoadReport(Path("timm") / model, tuple(net.state_dict()), (), ())
        return net
    return initialise(net, weights)

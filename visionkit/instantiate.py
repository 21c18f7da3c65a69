"""From a node of a configuration to an object: `_target_` names a class or a function of an allowed room.

A configuration may come with somebody's checkpoint, so a name is resolved by rules and not by trust: it has to start
with an allowed room, may pass through modules and classes only by their own path (`visionkit.config.os.system` goes
through an import and is refused), and what it leads to has to be *defined* in an allowed room.

The rooms hold what configurations build. Modules that write files, open addresses or start processes are none.

Hydra's own `instantiate` is not used: it calls nearly anything, hands OmegaConf containers to constructors and wraps
exceptions. The same keys are understood: `_target_`, `_partial_` and `_args_`.
"""

import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from visionkit.errors import ConfigError, VisionKitError

ROOMS = (
    "torch.nn",
    "torch.optim",
    "visionkit.backbones",
    "visionkit.heads",
    "visionkit.models",
    "visionkit.alternating",
    "visionkit.classification",
    "visionkit.counting",
    "visionkit.detection",
    "visionkit.fitted",
    "visionkit.localization",
    "visionkit.rcnn",
    "visionkit.segmentation",
    "visionkit.data.adaptive_kernels",
    "visionkit.data.augment",
    "visionkit.data.cifar_binary",
    "visionkit.data.coco_segmentation",
    "visionkit.data.color_noise",
    "visionkit.data.crops",
    "visionkit.data.crowds",
    "visionkit.data.digits",
    "visionkit.data.folders",
    "visionkit.data.idx",
    "visionkit.data.image_lists",
    "visionkit.data.imagenet_tree",
    "visionkit.data.lists",
    "visionkit.data.mask_folders",
    "visionkit.data.mixing",
    "visionkit.data.points_csv",
    "visionkit.data.random_crops",
    "visionkit.data.scale_crop",
    "visionkit.data.scenes",
    "visionkit.data.scenes_semantic",
    "visionkit.data.shanghaitech",
    "visionkit.data.single_object",
    "visionkit.data.sources",
    "visionkit.data.tar_shards",
    "visionkit.data.transforms",
    "visionkit.data.voc_segmentation",
    "visionkit.data.whole_pictures",
    "visionkit.engine.optim",
    "visionkit.engine.phases",
    "visionkit.engine.schedule",
    "visionkit.ops.selective_search",
    "visionkit.ops.windows",
)
REFUSED = ("visionkit.backbones.pretrained", "visionkit.backbones.weights_file")  # they open addresses and files
_WORDS = frozenset({"_target_", "_partial_", "_args_"})


def build(node: Any, key: str = "", **kwargs: Any) -> Any:
    """Builds a plain node (dicts, lists, scalars), depth first.

    Args:
        node: a dict with `_target_` becomes `target(*_args_, **other_keys, **kwargs)`, or with `_partial_: true` a
            `functools.partial` of it; other dicts and lists are walked; scalars are returned.
        key: where the node stands, for the error's sentence ("backbone", "task.head").
        kwargs: finished parts. They go to the outermost target only, as they are, and win over the node's keys.

    Keys are checked against the target's signature at once, for partial nodes too, so that `momentums: 0.9` is found
    before any data is read. What a partial is called with later is the caller's affair.

    Raises:
        ConfigError: a target that is not allowed or does not exist, an unknown or missing key, a refused value.
    """
    if isinstance(node, list | tuple):
        return [build(item, f"{key}[{i}]") for i, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    name = key or "the configuration"
    settings = {k: build(v, f"{key}.{k}" if key else str(k)) for k, v in node.items() if k not in _WORDS}
    if "_target_" not in node:
        if kwargs:
            raise ConfigError(f"{name} has no _target_, so nothing can be built from it.")
        return settings
    for word in settings:
        if word.startswith("_") and word.endswith("_"):
            raise ConfigError(f"{name}: {word} is not understood; beside _target_ there are _partial_ and _args_.")
    target = find_target(node["_target_"], name)
    args = build(list(node.get("_args_", ())), f"{key}._args_")
    partial = bool(node.get("_partial_", False))
    given = {**settings, **kwargs}
    _check_keys(target, node["_target_"], args, given, partial, key)
    if partial:
        return functools.partial(target, *args, **given)
    with refusals(f"{name}: {node['_target_']}"):
        return target(*args, **given)


@contextlib.contextmanager
def refusals(name: str) -> Iterator[None]:
    """A constructor's TypeError or ValueError inside the block becomes a ConfigError that begins with `name`."""
    try:
        yield
    except VisionKitError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} refuses its settings ({error}).") from error


def find_target(path: Any, name: str = "_target_") -> Callable[..., Any]:
    """The class or function that a dotted path names; raises ConfigError where the rules above do not hold."""
    if not isinstance(path, str) or not _in_rooms(path):
        raise ConfigError(f"{name}: _target_ {path!r} is not allowed; targets are in {', '.join(ROOMS)}.")
    parts = path.split(".")
    if not all(part.isidentifier() for part in parts) or any(part.startswith("_") for part in parts):
        raise ConfigError(f"{name}: _target_ {path!r} is not the dotted path of a public name.")
    module, rest = _split_module(parts)
    found: Any = module
    for part in rest:
        step = vars(found).get(part) if inspect.ismodule(found) else getattr(found, part, None)
        if step is None or inspect.ismodule(step) or not (inspect.ismodule(found) or inspect.isclass(found)):
            near = difflib.get_close_matches(part, [n for n in dir(found) if not n.startswith("_")], n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ConfigError(f"{name}: _target_ {path!r} does not exist: no {part!r} in {found.__name__}{hint}")
        found = step
    home = getattr(found, "__module__", None) or ""
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise ConfigError(f"{name}: _target_ {path!r} is neither a class nor a function.")
    if not _in_rooms(home):
        raise ConfigError(f"{name}: _target_ {path!r} is not allowed; it is defined in {home or 'no module'}.")
    return found  # type: ignore[no-any-return]


def only_from(node: Any, rooms: tuple[str, ...], key: str = "") -> None:
    """ConfigError when a target anywhere in a plain node is in none of these rooms."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            only_from(item, rooms, f"{key}[{i}]")
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if target is not None and not _inside(str(target), rooms):
            raise ConfigError(f"{key or 'the configuration'}: _target_ {target!r} is no part of a model.")
        for name, item in node.items():
            only_from(item, rooms, f"{key}.{name}" if key else str(name))


def _inside(path: str, rooms: tuple[str, ...]) -> bool:
    return any(path == room or path.startswith(room + ".") for room in rooms)


def _in_rooms(path: str) -> bool:
    return _inside(path, ROOMS) and not _inside(path, REFUSED)


def _split_module(parts: list[str]) -> tuple[Any, list[str]]:
    """The longest prefix that is a module by its own path, and the names after it."""
    for count in range(1, len(parts) + 1):
        path = ".".join(parts[:count])
        if count == len(parts) or importlib.util.find_spec(path) is None:
            break
        module = importlib.import_module(path)
        if not hasattr(module, "__path__"):  # a plain module has no modules inside
            return module, parts[count:]
    return importlib.import_module(".".join(parts[: count - 1])), parts[count - 1 :]


def _check_keys(
    target: Callable[..., Any], path: str, args: list[Any], given: dict[str, Any], partial: bool, key: str
) -> None:
    try:
        signature = inspect.signature(target)
    except ValueError:  # some callables written in C tell nothing
        return
    parameters = signature.parameters.values()
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for word in given:
            if word not in known:
                near = difflib.get_close_matches(word, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}."
                raise ConfigError(f"{key + '.' if key else ''}{word} is not a setting of {path}; {hint}")
    try:
        (signature.bind_partial if partial else signature.bind)(*args, **given)
    except TypeError as error:
        raise ConfigError(f"{key or 'the configuration'}: {path} cannot be called: {error}.") from error

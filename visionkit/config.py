"""The one room of Hydra and OmegaConf beside `tools/`: composes a tool's configuration, and turns faults to sentences.

    from visionkit.config import main

    @main("train")
    def train(config): ...          # imports torch inside, so that a mistyped key does not wait for it

A configuration is composed, checked and resolved before the tool's function is called. A person's mistake ends in one
sentence on standard error and the exit code of DESIGN.md; a bug keeps its traceback.
"""

import difflib
import errno
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

from visionkit.command_line import PATH_KEYS, help_text, key_of, prepare, settings_of
from visionkit.errors import ConfigError, VisionKitError
from visionkit.instantiate import build
from visionkit.settings import checked_settings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
QUIET = ("hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=none", "hydra/hydra_logging=none")
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
MAY_DIFFER = ("output", "resume", "experiment", "trainer.workers", "trainer.device", "trainer.log_steps")


def main(
    config_name: str, config_dir: Path = CONFIGS, passes_on: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a function of a configuration into a command. The command takes its arguments from the command line, or
    as a list of strings, and returns what the function returns; after an error it leaves with that error's exit code.

    With `passes_on` the words that are for another tool, flags and settings whose keys this one has not, are the
    function's second argument.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(arguments: Sequence[str] | None = None) -> Any:
            given = list(sys.argv[1:] if arguments is None else arguments)
            if {"--help", "-h"} & set(given):
                text = sys.modules[function.__module__].__doc__ or function.__doc__ or config_name
                print(help_text(config_name, config_dir, text))
                return None
            try:
                own, others = _told_apart(given, config_name, config_dir) if passes_on else (given, None)
                config = compose(config_name, own, config_dir)
                rest = () if others is None else (others,)
                result = None if config is None else function(config, *rest)
                if _many_processes():
                    _end(0)
                return result
            except VisionKitError as error:
                _leave(str(error), error.exit_code)
            except OmegaConfBaseException as error:
                _leave(_first_line(error), ConfigError.exit_code)
            except KeyboardInterrupt:
                _leave("interrupted", 130)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
                    _leave(f"cannot write {error.filename or 'a file'}: {error.strerror}.", 1)
                if _peer_lost(error):
                    _leave("another process of this run has ended; its own message says why.", 1)
                traceback.print_exc()
                print("This is a bug in VisionKit: please report the lines above and the command.", file=sys.stderr)
                _end(1)

        return command

    return decorate


def compose(config_name: str, arguments: Sequence[str], config_dir: Path = CONFIGS) -> DictConfig | None:
    """The composed, checked configuration; None where a flag (`--cfg job`, `--info`) only printed something.

    A key `experiment` is added where there is such a group: the experiment's name, or else the chosen task, backbone
    and data, joined.

    Raises:
        ConfigError: one sentence that names the key, the option or the file at fault.
    """
    prepared = prepare(arguments)
    try:
        config = _compose(config_name, prepared, config_dir)
    except (HydraException, OmegaConfBaseException, MarkedYAMLError, ValueError, OSError) as error:
        raise ConfigError(_explain(error, config_name, prepared, config_dir)) from error
    if config is None:
        return None
    _refuse_words_for_numbers(config, config_name, prepared, config_dir)
    _refuse_unknown_top_keys(config, config_name, config_dir)
    try:
        checked = checked_settings(to_plain(config))
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, config_name, prepared, config_dir)) from error
    with open_dict(config):
        for key, value in checked.items():
            OmegaConf.update(config, key, value)
    return config


def instantiate(node: Any, **kwargs: Any) -> Any:
    """`visionkit.instantiate.build` for a node of a configuration, whose full key the error's sentence names."""
    if isinstance(node, DictConfig | ListConfig):
        return build(_container(node), node._get_full_key("") or "", **kwargs)
    return build(node, **kwargs)


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Dicts, lists and scalars only, interpolations resolved: what a checkpoint holds and `config.yaml` shows."""
    plain = _container(config)
    assert isinstance(plain, dict)
    return plain


def from_plain(plain: Mapping[str, Any]) -> DictConfig:
    """The inverse of `to_plain`: reading or setting an unknown key fails."""
    config = OmegaConf.create(dict(plain))
    OmegaConf.set_struct(config, True)
    return config


def to_yaml(config: DictConfig) -> str:
    """The text of a run's `config.yaml`, interpolations resolved."""
    return OmegaConf.to_yaml(config, resolve=True)


def differences(
    old: Mapping[str, Any] | DictConfig, new: Mapping[str, Any] | DictConfig, ignore: Sequence[str] = MAY_DIFFER
) -> list[str]:
    """What changed, as "trainer.epochs: 12 -> 24", sorted by key; keys of `ignore` (and below them) may differ."""
    flat = [_flat(to_plain(c) if isinstance(c, DictConfig) else c) for c in (old, new)]
    found = []
    for key in sorted(flat[0].keys() | flat[1].keys()):
        if any(key == i or key.startswith(i + ".") for i in ignore):
            continue
        before, after = (f.get(key, "(not set)") for f in flat)
        if before != after or isinstance(before, bool) != isinstance(after, bool):
            found.append(f"{key}: {before} -> {after}")
    return found


def _container(node: DictConfig | ListConfig) -> Any:
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)


def _flat(node: Any, key: str = "") -> dict[str, Any]:
    """Leaves by dotted key; lists are leaves, an empty dict is one too."""
    if not isinstance(node, Mapping) or not node:
        return {key: node}
    return {
        k: v for name, child in node.items() for k, v in _flat(child, f"{key}.{name}" if key else str(name)).items()
    }


def _compose(config_name: str, prepared: Sequence[str], config_dir: Path) -> DictConfig | None:
    """Hydra, with nothing of a tool inside: what a tool raises later is not Hydra's affair."""
    composed: list[DictConfig] = []

    def keep(config: DictConfig) -> None:
        choices = HydraConfig.get().runtime.choices
        if "experiment" in choices:
            parts = [choices.get(group) for group in ("task", "backbone", "data")]
            with open_dict(config):
                config["experiment"] = choices["experiment"] or "-".join(p for p in parts if p) or config_name
        composed.append(config)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come through instead of ending the process
    argv = sys.argv
    sys.argv = [argv[0], *prepared, *QUIET]  # flags stand first
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir), config_name=config_name)(keep)()
    finally:
        sys.argv = argv
    return composed[0] if composed else None


def _refuse_words_for_numbers(config: DictConfig, config_name: str, prepared: Sequence[str], config_dir: Path) -> None:
    """`optim.lr=1e-3x` is a word to Hydra; where the configuration has a number or a truth value, it is a mistake."""
    words = {}
    for argument in settings_of(prepared):
        key = key_of(argument)
        named = key in PATH_KEYS or (config_dir / key).is_dir()  # a path or a group: words are right
        if not named and isinstance(OmegaConf.select(config, key, default=None), str):
            words[key] = argument
    if not words:
        return
    default = _compose(config_name, [a for a in prepared if a not in words.values()], config_dir)
    for key, argument in words.items():
        expected = OmegaConf.select(default, key, default=None) if default is not None else None
        if isinstance(expected, bool | int | float):
            kind = "true or false" if isinstance(expected, bool) else "a number"
            raise ConfigError(f"{argument}: {key} has to be {kind}, such as {str(expected).lower()}.")


def _refuse_unknown_top_keys(config: DictConfig, config_name: str, config_dir: Path) -> None:
    """Hydra checks keys of the command line; an experiment's file may say `sed: 3`, and nobody would ever read it."""
    known = _top_keys(config_name, config_dir)
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}."
            raise ConfigError(f"unknown key {key!s} in the configuration; {hint}")


def _top_keys(name: str, config_dir: Path) -> set[str]:
    """The keys of a tool's own file and of the tools' files it builds on, and its groups."""
    content = yaml.safe_load((config_dir / f"{name}.yaml").read_text(encoding="utf-8"))
    keys = set(content) - {"defaults"}
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            keys |= {str(group).rpartition("/")[2].rpartition(" ")[2] for group in entry}
        elif entry != "_self_":
            keys |= _top_keys(entry, config_dir)
    return keys


def _told_apart(given: Sequence[str], config_name: str, config_dir: Path) -> tuple[list[str], list[str]]:
    """The words for this tool, and those for the tool that it calls: flags are for both."""
    known, settings = _top_keys(config_name, config_dir), settings_of(given)
    others = [word for word in settings if "=" in word and key_of(word).partition(".")[0] not in known]
    flags = [word for word in given if word not in settings]
    return [word for word in given if word not in others], flags + others


def _explain(error: Exception, config_name: str, prepared: Sequence[str], config_dir: Path) -> str:
    """One sentence that names the culprit, with a suggestion where there is a near one."""
    text = str(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: not valid YAML ({error.problem})."
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} on the command line; special characters need quotes: \"key='value'\"."
    if isinstance(error, MissingMandatoryValue):
        key = _full_key(error)
        return f"{key} needs a value: {key}=..."
    if isinstance(error, MissingConfigException):
        return _explain_option(text, prepared)
    if match := re.match(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        return _explain_key(match[1], config_name, prepared, config_dir)
    if text.startswith("Config group override must be"):
        for argument in settings_of(prepared):
            if (config_dir / key_of(argument)).is_dir():
                options = sorted(f.stem for f in (config_dir / key_of(argument)).glob("*.yaml"))
                return f"{argument}: {key_of(argument)} is a group; choose one of {', '.join(options)}."
    if match := re.match(r"Ambiguous value for argument '(.+)'", text):
        return f"{match[1]}: a list is written key=[a,b], a text with a comma \"key='a,b'\"; several runs are a study."
    return _first_line(error)


def _explain_option(text: str, prepared: Sequence[str]) -> str:
    """An unknown option of a group. Hydra does not tell which file asked for it when it is an experiment's."""
    match = re.match(r"In '([^']+)': Could not find '(?:(.+)/)?([^']+)'", text)
    if not match:
        return text.partition("\n")[0]
    _, group, option = match.groups()
    listed = text.partition("Available options in")[2].partition("Config search path")[0]
    options = re.findall(r"^\t(\S+)$", listed, re.MULTILINE)
    near = difflib.get_close_matches(option, options, n=3)
    typed = any(argument.lstrip("+") == f"{group}={option}" for argument in prepared)
    experiment = next((a for a in settings_of(prepared) if key_of(a) == "experiment"), "the defaults")
    where = "" if typed else f" (asked for by {experiment})"
    if near:
        return f"{group}={option}: there is no such option{where}; did you mean {' or '.join(near)}?"
    return f"{group}={option}: there is no such option{where}; choose one of {', '.join(options) or 'none'}."


def _explain_key(key: str, config_name: str, prepared: Sequence[str], config_dir: Path) -> str:
    """An unknown key; the suggestion comes from the same configuration composed without it."""
    try:
        config = _compose(config_name, [a for a in prepared if key_of(a) != key], config_dir)
    except Exception:  # a second mistake: this one is named first
        config = None
    known = list(_paths(config)) if config is not None else []
    known += [f.name for f in config_dir.iterdir() if f.is_dir()]
    if config is not None and OmegaConf.is_dict(OmegaConf.select(config, key)):  # `optim.lr_multipliers={a: 1}`
        return f"{key} is a group; a new key of it is written +{key}.name=value."
    if key in known:  # a group that other tools have
        return f"{config_name} has no group {key}; --help lists its keys."
    leaf = key.rpartition(".")[2]
    same_leaf = [k for k in known if k.endswith("." + leaf)][:3]
    near = same_leaf or difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    if not near:  # the right leaf in a wrong place, mistyped: `epoch=3`
        leaves = {k.rpartition(".")[2]: k for k in known}
        near = [leaves[name] for name in difflib.get_close_matches(leaf, list(leaves), n=1, cutoff=0.75)]
    hint = f"did you mean {' or '.join(near)}?" if near else "--cfg job prints the keys there are."
    return f"unknown key {key}; {hint}"


def _paths(node: Any, key: str = "") -> list[str]:
    found = [key] if key else []
    if isinstance(node, DictConfig):
        for name in node:
            child = node._get_node(name)
            found += _paths(child, f"{key}.{name!s}" if key else str(name))
    return found


def _full_key(error: Exception) -> str:
    key = getattr(error, "full_key", None)
    match = re.search(r"full_key: (\S+)", str(error)) or re.search(r"[Mm]issing mandatory value: (\S+)", str(error))
    return str(key or (match[1] if match else "a key"))


def _first_line(error: Exception) -> str:
    """The error's first line, with the key where it knows one and the line does not name it."""
    line = str(error).partition("\n")[0].rstrip(".")
    key = _full_key(error) if "full_key" in str(error) else ""
    return f"{key}: {line}." if key and key not in line else f"{line}."


def _peer_lost(error: Exception) -> bool:
    engine = sys.modules.get("visionkit.engine.distributed")  # not loaded: this process is on its own
    return engine is not None and bool(engine.peer_lost(error))


def _end(code: int) -> NoReturn:
    """`sys.exit`; with several processes at once, since gloo's threads may abort an interpreter that winds down."""
    if _many_processes():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _many_processes() -> bool:
    """Whether this command is one of several of a run (and has started as one)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "visionkit.engine.distributed" in sys.modules


def _leave(sentence: str, code: int) -> NoReturn:
    if os.environ.get("VISIONKIT_TRACEBACK"):  # for the developer who wants to see where a sentence came from
        traceback.print_exc()
    print("error: " + re.sub(r"\s*\n\s*", " ", sentence.strip()), file=sys.stderr)
    _end(code)

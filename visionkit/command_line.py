"""What is done to a command line before Hydra reads it: paths are made safe and absolute, flags checked, help printed.

Hydra's grammar does not take `= , ( [ { # & '`, a leading `~` or a non-ASCII letter in an unquoted value. Paths hold
all of these, so the values of path keys are quoted here.
"""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from visionkit.errors import ConfigError

PATH_KEYS = frozenset(
    {"data.root", "source", "image", "checkpoint", "output", "resume", "predictions", "truth", "backbone.weights"}
    | {"start_from", "query", "features", "members", "proposals", "file", "import", "folder"}
)
# Also looked up in the shared folders: absolute only if here.
NAMES_TOO = frozenset({"data.root", "backbone.weights", "file"})
TEXT_KEYS = frozenset({"target"})  # words of a person: names of classes hold anything
MANY = frozenset({"source", "image", "members", "proposals"})  # `source=[a.jpg,b.jpg]`
KEYWORDS = {"resume": {"auto", "none"}, "backbone.weights": {"imagenet", "none"}}
WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p",
              "--info", "-i")  # fmt: skip
FLAGS = (
    *WITH_VALUE,
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--resolve",
    "--run",
    "-r",
    "--shell-completion",
    "-sc",
)


def prepare(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra shall see them.

    Raises:
        ConfigError: an unknown flag, or an argument that is not `key=value`.
    """
    flags: list[str] = []
    settings: list[str] = []
    for argument, is_flag in _sorted_out(arguments):
        (flags if is_flag else settings).append(argument if is_flag else _checked_setting(argument))
    return flags + settings  # Hydra's parser takes settings in one row only


def settings_of(arguments: Sequence[str]) -> list[str]:
    """The `key=value` arguments among all of them, without the flags and the flags' values."""
    return [argument for argument, is_flag in _sorted_out(arguments) if not is_flag]


def key_of(argument: str) -> str:
    """`++trainer.epochs=3` -> `trainer.epochs`."""
    return argument.partition("=")[0].lstrip("+~")


def _sorted_out(arguments: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each argument, and whether it is a flag or the value of one."""
    value_follows = False
    for argument in arguments:
        is_flag = value_follows or argument.startswith("-")
        if is_flag and not value_follows:
            _check_flag(argument)
        value_follows = not value_follows and argument in WITH_VALUE
        yield argument, is_flag


def _checked_setting(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals and not key.startswith("~"):
        raise ConfigError(f"{argument!r} on the command line is not of the form key=value.")
    name = key.lstrip("+")
    if equals and name in TEXT_KEYS and value:
        return f"{key}={quote(_unquoted(value))}"
    return f"{key}={_path_value(name, value)}" if equals and name in PATH_KEYS else argument


def _check_flag(argument: str) -> None:
    flag = argument.partition("=")[0]
    if flag in ("--multirun", "-m"):
        raise ConfigError(f"{flag} is not supported; several runs are a study: python tools/study.py study=NAME.")
    if flag in FLAGS:
        return
    word = flag.lstrip("-")
    near = difflib.get_close_matches(flag, [f for f in FLAGS if f.startswith("--")], n=1, cutoff=0.8)
    hint = f"did you mean {near[0]}?" if near else f"settings are written {word or 'key'}=value."
    raise ConfigError(f"unknown option {flag}; {hint}")


def _path_value(key: str, value: str) -> str:
    """The value of a path key, absolute where it is a path of here, quoted for Hydra."""
    if value == "" or value.lower() == "null" or value in KEYWORDS.get(key, ()):
        return value
    if key in MANY and re.fullmatch(r"\[.*\]", value, re.DOTALL) and not Path(value).expanduser().exists():
        items = re.findall(r"""\s*('[^']*'|"[^"]*"|[^,]+)""", value[1:-1])
        return "[" + ",".join(quote(_absolute(key, _unquoted(item.strip()))) for item in items) + "]"
    return quote(_absolute(key, _unquoted(value)))


def _unquoted(value: str) -> str:
    """Without the quotes that a person who knows Hydra put around; a file whose name really has them wins."""
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted and not Path(value).exists() else value


def _absolute(key: str, value: str) -> str:
    if "://" in value:
        return value
    path = os.path.expanduser(value)
    if key in NAMES_TOO and not os.path.exists(path):
        return path
    return os.path.abspath(path)


def quote(value: str) -> str:
    r"""A text as a single-quoted value of Hydra's grammar that comes out of OmegaConf unchanged.

    Backslashes count only before a quote (Hydra) and before `${` (OmegaConf), and are doubled there.
    """
    value = re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", value)
    value = re.sub(r"(\\*)'", lambda m: m[1] * 2 + r"\'", value)
    trailing = len(value) - len(value.rstrip("\\"))
    return "'" + value + "\\" * trailing + "'"


def help_text(config_name: str, config_dir: Path, description: str) -> str:
    """The tool's own words, then its keys with their defaults and comments, then the groups and their options."""
    primary = (config_dir / f"{config_name}.yaml").read_text(encoding="utf-8")
    defaults = [entry for entry in yaml.safe_load(primary).get("defaults", []) if isinstance(entry, dict)]
    groups = [str(name).rpartition("/")[2] for entry in defaults for name in entry]
    lines = [description.strip(), "", f"Keys (key=value; defaults of configs/{config_name}.yaml):", *_keys(primary, "")]
    if "trainer" in groups:
        lines += _keys((config_dir / "trainer" / "default.yaml").read_text(encoding="utf-8"), "trainer.")
    options = {g: sorted(f.stem for f in (config_dir / g).glob("*.yaml")) for g in groups}
    if any(options.values()):
        lines += ["", "Groups (group=option; every key of an option is a key too, as in backbone.weights=PATH):"]
        lines += [f"  {group}: {' '.join(names)}" for group, names in options.items() if names]
    lines += [
        "",
        "Also: --config-dir MYDIR (configurations of your own), --cfg job (print the composed configuration).",
    ]
    return "\n".join(lines)


def _keys(text: str, prefix: str) -> list[str]:
    keys = re.findall(r"^([a-z_]+): *([^#\n]*?) *(?:# *(.*))?$", text, re.MULTILINE)
    shown = [(f"{prefix}{key}={value}", comment) for key, value, comment in keys if key != "defaults"]
    return [f"  {setting:<32} {comment}".rstrip() for setting, comment in shown]

"""Composition on tiny configuration folders of its own: what a person types, and the sentence a mistake ends in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from visionkit.command_line import PATH_KEYS, prepare, quote
from visionkit.config import CONFIGS, compose, differences, from_plain, instantiate, main, to_plain, to_yaml
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.instantiate import find_target
from visionkit.settings import TRAINER, checked_settings

FILES = {
    "train.yaml": "defaults: [_self_, backbone: small, data: pictures, trainer: default, task: detect, "
    "experiment: null]\n"
    "seed: 0  # of everything\noutput: null\nresume: auto\nsource: null\nimage: null\n"
    "checkpoint: null\npredictions: null\ntruth: null\nstart_from: null\nquery: null\nfeatures: null\nmembers: null\n"
    "proposals: null\nfile: null\nimport: null\nfolder: null\n",
    "backbone/small.yaml": "_target_: torch.nn.Identity\nweights: null\nnorm: batch\nwidth: 8\n",
    "backbone/resnet18.yaml": "weights: null\nnorm: batch\nwidth: 64\n",
    "data/pictures.yaml": "root: pictures\n",
    "task/detect.yaml": "score: 0.5\nflip: true\nname: boxes\n",
    "study/other.yaml": "x: 1\n",  # a group that this tool does not take
    "experiment/own.yaml": "# @package _global_\ndefaults: [override /backbone: resnet18]\n"
    "trainer: {epochs: 9}\nseed: 5\n",
    "experiment/typo.yaml": "# @package _global_\ntrainer: {epoch: 9}\n",
    "experiment/nowhere.yaml": "# @package _global_\ndefaults: [override /backbone: resnet17]\n",
    "experiment/broken.yaml": "# @package _global_\ntrainer: {epochs: [9\n",
    "experiment/lost.yaml": "# @package _global_\ntask: {score: '${nowhere.at.all}'}\n",
    "experiment/open.yaml": "# @package _global_\ntask: {extra: '???'}\n",
}
TRICKY = [
    *("plain", "two words", "a=b,c", "it's", 'say "x"', "[list]", "{brace}", "(par)", "a#b&c", "größe/日本", "50%"),
    *("$HOME", "${trap}", "back\\slash", "back\\'both", "end\\", "\\${both}", "\\\\", "null.txt", "true", "1e3"),
    *("a: b", "*?!", "~x/y~"),
]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write(
        tmp_path / "configs", {**FILES, "trainer/default.yaml": (CONFIGS / "trainer/default.yaml").read_text()}
    )
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return folder


# What is composed


def test_command_line_beats_experiment_beats_group(configs):
    config = compose("train", ["experiment=own", "trainer.batch_size=4"], configs)
    assert (config.trainer.epochs, config.seed, config.trainer.batch_size) == (9, 5, 4)
    assert config.backbone.width == 64
    assert compose("train", ["experiment=own", "seed=7"], configs).seed == 7
    assert compose("train", ["experiment=own", "backbone=small"], configs).backbone.width == 8


def test_experiment_is_named(configs):
    assert compose("train", ["experiment=own"], configs).experiment == "own"
    assert compose("train", [], configs).experiment == "detect-small-pictures"


def test_config_dir_of_ones_own_from_any_folder(configs, tmp_path):
    write(tmp_path / "cwd" / "my own", {"experiment/mine.yaml": "# @package _global_\nseed: 11\n"})
    for place in ("my own", str(tmp_path / "cwd" / "my own")):
        config = compose("train", ["--config-dir", place, "experiment=mine"], configs)
        assert (config.seed, config.experiment) == (11, "mine")
    assert compose("train", ["--config-dir=my own", "experiment=mine"], configs).seed == 11


def test_nothing_is_written(configs, tmp_path):
    compose("train", ["output=somewhere"], configs)
    assert list((tmp_path / "cwd").iterdir()) == []


def test_hydra_leaves_logging_alone(configs):
    import logging

    before = (logging.root.level, list(logging.root.handlers))
    compose("train", [], configs)
    assert (logging.root.level, list(logging.root.handlers)) == before


# Paths


@pytest.mark.parametrize("name", TRICKY)
def test_paths_arrive_unchanged_and_absolute(configs, tmp_path, name):
    config = compose("train", [f"output={name}", f"++checkpoint=sub/{name}"], configs)
    plain = to_plain(config)
    assert plain["output"] == str(tmp_path / "cwd" / name)
    assert plain["checkpoint"] == str(tmp_path / "cwd" / "sub" / name)
    assert yaml.safe_load(to_yaml(config))["output"] == plain["output"]


def test_every_path_key_takes_a_tricky_path(configs, tmp_path):
    wanted = tmp_path / "cwd" / "a=b, c"
    wanted.mkdir()
    config = compose("train", [f"{key}=a=b, c" for key in sorted(PATH_KEYS)], configs)
    for key in PATH_KEYS:
        value = to_plain(config)
        for part in key.split("."):
            value = value[part]
        assert value == str(wanted), key


def test_home_is_expanded(configs, monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    assert compose("train", ["output=~/runs/x"], configs).output == "/somebody/runs/x"
    assert compose("train", ["data.root=~/voc"], configs).data.root == "/somebody/voc"


def test_names_of_shared_folders_stay_names(configs, tmp_path):
    assert compose("train", ["data.root=bccd"], configs).data.root == "bccd"
    assert compose("train", ["backbone.weights=resnet18-5c.pth"], configs).backbone.weights == "resnet18-5c.pth"
    (tmp_path / "cwd" / "bccd").mkdir()
    assert compose("train", ["data.root=bccd"], configs).data.root == str(tmp_path / "cwd" / "bccd")


def test_keywords_and_null_are_no_paths(configs):
    assert compose("train", ["resume=none"], configs).resume == "none"
    assert compose("train", ["resume=auto"], configs).resume == "auto"
    assert compose("train", ["backbone.weights=imagenet"], configs).backbone.weights == "imagenet"
    config = compose("train", ["backbone.weights=null", "output=null", "source=rtsp://host/a,b=c"], configs)
    assert config.backbone.weights is None and config.output is None
    assert config.source == "rtsp://host/a,b=c"


def test_several_sources(configs, tmp_path):
    config = compose("train", ["source=[a.jpg, 'b, c.jpg',\"d.jpg\"]"], configs)
    assert list(config.source) == [str(tmp_path / "cwd" / name) for name in ("a.jpg", "b, c.jpg", "d.jpg")]
    (tmp_path / "cwd" / "[x]").mkdir()
    assert compose("train", ["source=[x]"], configs).source == str(tmp_path / "cwd" / "[x]")


def test_quotes_of_a_person_who_knows_hydra(configs, tmp_path):
    assert compose("train", ["output='a b'"], configs).output == str(tmp_path / "cwd" / "a b")
    (tmp_path / "cwd" / "'really'").mkdir()
    assert compose("train", ["output='really'"], configs).output == str(tmp_path / "cwd" / "'really'")


def test_other_arguments_are_left_alone():
    arguments = ["--config-dir", "output=x", "--cfg=job", "trainer.epochs=3", "~task.score", "task.name=[a,b]"]
    assert prepare(arguments) == arguments
    assert prepare(arguments[3:] + arguments[:3]) == arguments  # flags may stand anywhere
    assert quote("a") == "'a'"


# Mistakes: one sentence that names the culprit


MISTAKES = [
    (["trainer.epoch=3"], ["trainer.epoch", "trainer.epochs"]),
    (["trainr.epochs=3"], ["trainr.epochs", "trainer.epochs"]),
    (["epochs=3"], ["unknown key epochs", "trainer.epochs"]),
    (["batchsize=3"], ["batchsize", "trainer.batch_size"]),
    (["backbon=small"], ["backbon;", "backbone"]),
    (["study=other"], ["has no group study"]),
    (["hydra.job.nam=3"], ["hydra.job.nam"]),
    (["~seeed"], ["seeed", "seed"]),
    (["backbone=resnet81"], ["backbone=resnet81", "resnet18"]),
    (["backbone=zzz"], ["backbone=zzz", "resnet18", "small"]),
    (["backbone=3"], ["backbone=3", "resnet18"]),
    (["experiment=onw"], ["experiment=onw", "own"]),
    (["experiment=nowhere"], ["backbone=resnet17", "experiment=nowhere", "resnet18"]),
    (["experiment=typo"], ["trainer.epoch;", "trainer.epochs"]),
    (["experiment=broken"], ["broken.yaml", "line 3", "YAML"]),
    (["experiment=lost"], ["task.score", "nowhere"]),
    (["experiment=open"], ["task.extra", "needs a value"]),
    (["+trainer.epoch=3"], ["trainer.epoch", "trainer.epochs"]),
    (["+seed=3"], ["seed"]),
    (["trainer.epochs=abc"], ["trainer.epochs", "abc", "number"]),
    (["trainer.epochs=0"], ["trainer.epochs=0", "at least 1"]),
    (["trainer.epochs=2.5"], ["trainer.epochs=2.5", "whole"]),
    (["trainer.epochs=null"], ["trainer.epochs=null", "whole"]),
    (["trainer.epochs=nan"], ["trainer.epochs", "whole"]),
    (["trainer.epochs=true"], ["trainer.epochs", "whole"]),
    (["trainer.epochs={a:1}"], ["trainer.epochs", "whole"]),
    (["trainer.precision=fp8"], ["trainer.precision=fp8", "bf16"]),
    (["trainer.device=tpu"], ["trainer.device=tpu", "cuda"]),
    (["trainer.clip_norm=-1"], ["trainer.clip_norm=-1", "above 0"]),
    (["trainer.workers=-1"], ["trainer.workers=-1"]),
    (["seed=-1"], ["seed=-1"]),
    (["seed=1,2"], ["seed=1,2", "list"]),
    (["task.score=high"], ["task.score=high", "number"]),
    (["task.flip=yes"], ["task.flip=yes", "true or false"]),
    (["task.name=größe"], ["task.name=größe", "quotes"]),
    (["task.name=a=b"], ["task.name=a=b", "quotes"]),
    (["trainer.epochs"], ["'trainer.epochs'", "key=value"]),
    (["--epochs", "3"], ["--epochs", "epochs=value"]),
    (["--config-dri", "x"], ["--config-dri", "--config-dir"]),
    (["-m", "seed=1,2"], ["-m", "tools/study.py"]),
    (["--config-dir", "no/such/place"], ["no/such/place"]),
]


@pytest.mark.parametrize("arguments,words", MISTAKES, ids=lambda value: " ".join(value))
def test_a_mistake_is_one_sentence(configs, capsys, arguments, words):
    @main("train", configs)
    def tool(config):
        raise AssertionError("a wrong configuration got through")

    with pytest.raises(SystemExit) as leaving:
        tool(arguments)
    captured = capsys.readouterr()
    assert leaving.value.code == 2, captured.err
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and captured.err.endswith("\n")
    for word in words:
        assert word in captured.err


def test_text_stays_text(configs):
    assert compose("train", ["task.name=other"], configs).task.name == "other"


def test_whole_numbers_written_as_floats(configs):
    config = compose("train", ["trainer.max_steps=1e3"], configs)
    assert config.trainer.max_steps == 1000 and isinstance(config.trainer.max_steps, int)


def test_trainer_keys_and_checks_agree():
    trainer = yaml.safe_load((CONFIGS / "trainer" / "default.yaml").read_text())
    assert set(trainer) == set(TRAINER)
    assert checked_settings({"trainer": trainer}) == {f"trainer.{k}": v for k, v in trainer.items()}


# The committed configurations


OPTIONS = [(group, file.stem) for group in ("backbone", "data", "augment", "optim", "schedule", "task", "experiment")
           for file in sorted((CONFIGS / group).glob("*.yaml"))]  # fmt: skip


@pytest.mark.parametrize("group,option", OPTIONS)
def test_every_option_composes_and_names_what_may_be_built(group, option):
    own_pictures = (
        ["data.root=pictures"] if option in ("folder", "csv", "shards", "points", "image_masks") else []
    )  # no default
    config = to_plain(compose("train", [f"{group}={option}", *own_pictures]))
    assert {"weights", "norm"} <= set(config["backbone"])  # backbone.weights=PATH works on every one
    targets = list(targets_in(config))
    assert {"backbone", "data", "task", "schedule"} <= {key.partition(".")[0] for key, _ in targets}
    for key, target in targets:
        assert callable(find_target(target, key))


def targets_in(node, key=""):
    """(key, target) of every `_target_` below the node."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node["_target_"]
        for name, child in node.items():
            yield from targets_in(child, f"{key}.{name}" if key else name)
    elif isinstance(node, list):
        for child in node:
            yield from targets_in(child, key)


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFIGS.glob("*.yaml")))
def test_help_of_every_tool_explains_each_key(name, capsys):
    main(name)(lambda config: None)(["--help"])
    lines = capsys.readouterr().out.partition("Keys")[2].partition("Groups")[0].splitlines()
    keys = [line for line in lines if line.startswith("  ")]
    assert keys
    for line in keys:
        assert len(line.split(maxsplit=1)) == 2, f"no comment in configs/{name}.yaml: {line}"


# Exceptions of the tool itself


@pytest.mark.parametrize(
    "error,code",
    [(ConfigError("x.pt is\nbroken."), 2), (DataError("a.jpg is cut."), 3), (NonFiniteLossError("loss."), 4)],
)
def test_own_errors_become_a_sentence_and_a_code(configs, capsys, error, code):
    @main("train", configs)
    def tool(config):
        raise error

    with pytest.raises(SystemExit) as leaving:
        tool([])
    assert leaving.value.code == code
    assert capsys.readouterr().err == f"error: {' '.join(str(error).split())}\n"


def test_interrupt_is_130(configs, capsys):
    @main("train", configs)
    def tool(config):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as leaving:
        tool([])
    assert leaving.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(configs, capsys):
    @main("train", configs)
    def tool(config):
        return {}["no such key"]

    with pytest.raises(SystemExit) as leaving:
        tool([])
    text = capsys.readouterr().err
    assert leaving.value.code == 1
    assert "Traceback" in text and "KeyError" in text and "report" in text


def test_exit_of_a_tool_passes_and_values_come_back(configs):
    @main("train", configs)
    def tool(config):
        if config.seed == 143:
            sys.exit(143)
        return config.seed

    with pytest.raises(SystemExit) as leaving:
        tool(["seed=143"])
    assert leaving.value.code == 143
    assert tool(["seed=3"]) == 3


def test_the_command_line_is_restored(configs, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tool", "seed=4"])
    main("train", configs)(lambda config: config.seed)()
    assert sys.argv == ["tool", "seed=4"]


def test_struct_in_the_tool(configs, capsys):
    with pytest.raises(SystemExit) as leaving:
        main("train", configs)(lambda config: config.trainer.epoch)([])
    assert leaving.value.code == 2 and "trainer.epoch" in capsys.readouterr().err


# Plain configurations


def test_plain_and_back(configs):
    config = compose("train", ["output=x y"], configs)
    plain = to_plain(config)
    assert type(plain["trainer"]) is dict
    back = from_plain(plain)
    assert back == config
    with pytest.raises(Exception, match="trainer.epoch"):
        _ = back.trainer.epoch


def test_differences_are_named_and_some_may_be():
    old = {"seed": 0, "trainer": {"epochs": 3, "workers": 2}, "output": "a", "sizes": [1, 2], "gone": {"x": 1}}
    new = {"seed": 0, "trainer": {"epochs": 4, "workers": 0}, "output": "b", "sizes": [1, 3], "come": None}
    assert differences(old, old) == []
    assert differences(old, new) == [
        "come: (not set) -> None",
        "gone.x: 1 -> (not set)",
        "sizes: [1, 2] -> [1, 3]",
        "trainer.epochs: 3 -> 4",
    ]
    assert differences(from_plain(old), new, ignore=("come", "gone", "sizes", "output", "trainer")) == []
    assert differences({"a": 1}, {"a": True}) == ["a: 1 -> True"]


def test_instantiate_names_the_full_key(configs):
    config = compose("train", ["+backbone.colour=3"], configs)
    config.backbone["_target_"] = "torch.nn.ReLU"
    with pytest.raises(ConfigError, match=r"backbone\.\w+ is not a setting of torch.nn.ReLU"):
        instantiate(config.backbone)


# Help and the process as a whole


def run(configs: Path, *arguments: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """A tool in a process of its own; it prints the heavy modules that it has, in any case."""
    code = (
        "import atexit, sys\n"
        "heavy = ('torch', 'torchvision', 'albumentations', 'cv2', 'matplotlib')\n"
        "atexit.register(lambda: print('heavy:', [m for m in heavy if m in sys.modules]))\n"
        "from pathlib import Path\nfrom visionkit.config import main\n"
        f"@main('train', Path({str(configs)!r}))\n"
        f"def train(config):\n    '''Trains things.'''\n    {script or 'print(config.seed)'}\n"
        "train()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parent)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_help_is_ours_and_cheap(configs):
    done = run(configs, "--help", "trainer.epoch=3")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("Trains things.", "seed=0", "of everything", "trainer.epochs=12", "resnet18 small", "--config-dir"):
        assert word in done.stdout
    assert "powered by hydra" not in done.stdout.lower()
    assert "heavy: []" in done.stdout


def test_a_mistyped_key_does_not_wait_for_torch(configs):
    done = run(configs, "trainer.epoch=3")
    assert done.returncode == 2
    assert done.stderr == "error: unknown key trainer.epoch; did you mean trainer.epochs?\n"
    assert done.stdout == "heavy: []\n"


def test_a_good_run_and_a_bug_as_processes(configs):
    done = run(configs, "seed=3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\nheavy: []\n", "")
    done = run(configs, script="raise RuntimeError('oh')")
    assert done.returncode == 1 and "RuntimeError: oh" in done.stderr and "Error executing job" not in done.stderr
    printed = run(configs, "--cfg", "job")
    assert printed.returncode == 0 and "epochs: 12" in printed.stdout

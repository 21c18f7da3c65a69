"""A configuration builds what it may and nothing else: it may have come with somebody's checkpoint."""

import functools

import pytest

from visionkit.errors import ConfigError, DataError
from visionkit.instantiate import build, find_target

REFUSED = [
    "os.system",
    "builtins.eval",
    "subprocess.run",
    "torch.load",
    "torch.hub.load",
    "numpy.load",
    "posix.system",
    "visionkit",
    "visionkit.config",
    "visionkit.config.os.system",
    "visionkit.config.hydra.utils.instantiate",
    "visionkit.config.compose",
    "visionkit.run_folder.subprocess.run",
    "visionkit.run_folder.new_run_folder",
    "visionkit.command_line.prepare",
    "visionkit.structures.Batch",  # harmless, but no room
    "visionkit.data.download.fetch",
    "visionkit.engine.checkpoint.save",
    "visionkit.evaluation.files.write_json",
    "visionkit.predictor.load",
    "visionkit.backbones.pretrained.load_weights",
    "visionkit.backbones.resnet.Sequence",  # a name imported there
    "visionkit.backbones.resnet.torch.load",
    "visionkit.backbones.base.nn.ReLU",
    "visionkit.backbones.base.NamedTuple",
    "visionkit.backbones.base.abstractmethod",
    "visionkit.backbones.base._private",
    "visionkit.backbones.base.Backbone.__init__",
    "visionkit.backbones.base.Backbone.__class__.__subclasses__",
    "visionkit.backbones.base.no_such_thing",
    "visionkit.backbones.no.such.module",
    "visionkit.backbonesx.resnet.resnet18",
    "visionkit.data.sources.resolve_root",  # defined in another room
    "visionkit.load",
    "torch.nn.modules.module.torch.load",
    "torch.nn.modules.module.functools.partial",
    "torch.nn.init.warnings.warn",
    "torch.nn.no_such_layer",
    "torch.optim",
    "torch.nn..ReLU",
    "torch.nn.",
    "",
    None,
    3,
    ["torch.nn.ReLU"],
]


@pytest.mark.parametrize("path", REFUSED, ids=str)
def test_refused_targets(path):
    with pytest.raises(ConfigError, match="_target_"):
        build({"_target_": path}, "task")


def test_refused_targets_anywhere_in_the_node():
    for node in (
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.getcwd"}]},
        {"head": [{"deep": {"_target_": "os.getcwd", "_partial_": True}}]},
        [{"_target_": "os.getcwd"}],
    ):
        with pytest.raises(ConfigError, match=r"_target_ 'os\.getcwd' is not allowed"):
            build(node)


def test_allowed_targets():
    import torch

    assert find_target("torch.nn.ReLU") is torch.nn.ReLU
    assert find_target("torch.optim.SGD") is torch.optim.SGD
    assert find_target("torch.optim.lr_scheduler.LambdaLR") is torch.optim.lr_scheduler.LambdaLR
    assert find_target("visionkit.backbones.base.Backbone").__name__ == "Backbone"


def test_builds_depth_first_and_plain():
    from torch import nn

    node = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}],
    }
    module = build(node)
    assert isinstance(module, nn.Sequential) and module[0].weight.shape == (3, 2)
    assert build({"a": [1, {"b": None}], "c": "x"}) == {"a": [1, {"b": None}], "c": "x"}
    assert build(None) is None and build({}) == {} and build([]) == []


def test_kwargs_are_finished_parts_and_win():
    from torch import nn

    parts = [nn.Parameter()]
    optimizer = build({"_target_": "torch.optim.SGD", "lr": 0.1}, params=[{"params": parts, "lr": 0.2}], lr=0.3)
    assert optimizer.param_groups[0]["params"][0] is parts[0]
    assert optimizer.param_groups[0]["lr"] == 0.2 and optimizer.defaults["lr"] == 0.3


def test_partial():
    from torch import nn

    make = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5})
    assert isinstance(make, functools.partial)
    assert make([nn.Parameter()]).defaults["lr"] == 0.5


def test_the_node_is_not_changed():
    node = {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1, "bias": False}
    before = dict(node)
    build(node)
    assert node == before


@pytest.mark.parametrize("partial", [False, True])
def test_unknown_keys_are_named(partial):
    node = {"_target_": "torch.optim.SGD", "_partial_": partial, "momentums": 0.9}
    with pytest.raises(
        ConfigError, match=r"optim\.momentums is not a setting of torch\.optim\.SGD; did you mean momentum\?"
    ):
        build(node, "optim", params=[])
    node = {"body": {"_target_": "torch.nn.ReLU", "_partial_": partial, "zzz": 1}}
    with pytest.raises(ConfigError, match=r"task\.body\.zzz .* it has inplace"):
        build(node, "task")


def test_missing_keys_are_named():
    with pytest.raises(ConfigError, match=r"task: torch\.nn\.Linear cannot be called: missing .*in_features"):
        build({"_target_": "torch.nn.Linear"}, "task")


def test_refused_values_are_one_sentence():
    with pytest.raises(
        ConfigError, match=r"optim: torch\.optim\.SGD refuses its settings \(Invalid learning rate: -1\)"
    ):
        build({"_target_": "torch.optim.SGD", "lr": -1}, "optim", params=[])


def test_mistyped_names_get_a_suggestion():
    with pytest.raises(ConfigError, match="no 'ReLu' in torch.nn; did you mean ReLU"):
        build({"_target_": "torch.nn.ReLu"})


def test_words_of_hydra_that_are_not_understood():
    with pytest.raises(ConfigError, match="_convert_"):
        build({"_target_": "torch.nn.ReLU", "_convert_": "all"})


def test_kwargs_without_a_target():
    with pytest.raises(ConfigError, match="task has no _target_"):
        build({"x": 1}, "task", backbone=3)


def test_own_errors_pass_and_bugs_pass(monkeypatch):
    import visionkit.backbones.base as room

    def fails(error):
        raise error

    fails.__module__ = room.__name__
    monkeypatch.setattr(room, "fails", fails, raising=False)
    for error in (DataError("this file."), KeyError("bug")):
        with pytest.raises(type(error)) as raised:
            build({"_target_": "visionkit.backbones.base.fails"}, error=error)
        assert raised.value is error

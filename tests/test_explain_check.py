"""What a check of explanations is given of the tool's settings."""

from types import SimpleNamespace

import pytest

from visionkit import explain_check
from visionkit.config import compose, from_plain
from visionkit.errors import ConfigError

TABLES = {"pointing": "pointing_table", "deletion": "deletion_table", "randomisation": "randomisation_table"}


@pytest.mark.parametrize("check", TABLES)
def test_settings_reach_the_table(check, monkeypatch, tmp_path):
    given = {}

    def table(predictor, index, methods, folder, layer=None, label=None, **rest):
        given.update(index=index, methods=methods, folder=folder, layer=layer, label=label, **rest)
        return "a table"

    monkeypatch.setattr(explain_check, TABLES[check], table)
    monkeypatch.setattr(explain_check, "load_data", lambda settings: SimpleNamespace(val=settings.data))
    plain = {"check": check, "methods": ["edges", "saliency"], "layer": "c3", "target": "Dog", "limit": 7, "seed": 5}
    config = from_plain({**plain, "batch_size": 3, "checkpoint": "last.pt", "data": {"root": "here"}})
    explain_check.check(config, SimpleNamespace(names=("cat", "dog"), config={}), tmp_path)
    assert given["index"] == {"root": "here"} and given["folder"] == tmp_path
    assert (given["methods"], given["layer"], given["label"], given["limit"]) == (["edges", "saliency"], "c3", "dog", 7)
    assert check == "pointing" or given["seed"] == 5
    assert check != "deletion" or given["batch_size"] == 3


def test_published_weights_are_not_checked_on_what_nobody_chose(tmp_path):
    """The task brings generated scenes along, which ImageNet's classes do not know."""
    config = compose("explain", ["task=classify", "backbone=lenet", "check=deletion"])
    with pytest.raises(ConfigError, match="published weights wants pictures: data="):
        explain_check.check(config, SimpleNamespace(names=("cat",), config={}), tmp_path)

"""The command: what it refuses, and how it says so. `tests/test_import_weights.py` has what it makes of files."""

import os
import pickle

import pytest

from tests.models.detectron2_files import as_file, random_state, shapes


def test_a_malicious_file_is_refused_in_one_sentence_and_not_run(tool, tmp_path):
    class Malice:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'was_run'}",)

    content = as_file(random_state(shapes("FPN", 50, False, 3, 4, 8, 16))) | {"scheduler": Malice()}
    file = tmp_path / "model, final=1.pkl"  # a name that Hydra's grammar does not take as it is
    file.write_bytes(pickle.dumps(content))
    outcome = tool("import_weights", f"file={file}", f"output={tmp_path / 'out' / 'x.pt'}", "kind=detectron2")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1 and "is refused: it asks for posix.system" in outcome.err
    assert not (tmp_path / "was_run").exists() and not (tmp_path / "out" / "x.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["file=x.pth"], "output needs a value: output=..."),
        (["file=x.pth", "output=x.pth"], "is the file itself; choose another name"),
        (["file=x.pth", "output=tests"], "tests is a folder; the name of a checkpoint is wanted"),
        (["file=none.pth", "output=y.pt"], "no weights file at"),
        (["file=x.pth", "output=y.pt", "kinds=detectron2"], "did you mean kind?"),
    ],
)
def test_settings(tool, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    outcome = tool("import_weights", *arguments)
    assert outcome.code == 2 and sentence in outcome.err and not (tmp_path / "y.pt").exists()

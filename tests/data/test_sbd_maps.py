import pickle

import numpy as np
import pytest
from scipy.io import savemat

from visionkit.data.label_maps import index_table
from visionkit.data.ragged import Blobs
from visionkit.data.sbd_maps import SbdMaps, read_sbd
from visionkit.errors import DataError

VALUES = np.array([[0, 1, 2], [20, 0, 1]], np.uint8)


def test_reads_selects_and_relabels(tmp_path):
    for k in range(2):
        savemat(tmp_path / f"{k}.mat", {"GTcls": {"Segmentation": VALUES + k}})
    table = index_table(range(22))
    table[2] = 255
    maps = SbdMaps(Blobs.pack([str(tmp_path / f"{k}.mat").encode() for k in range(2)]), table)
    assert maps.read(0).tolist() == [[0, 1, 255], [20, 0, 1]] and len(maps) == 2
    moved = pickle.loads(pickle.dumps(maps.select(np.array([1])).relabelled(np.arange(22)[::-1])))
    assert moved.read(0).tolist() == [[20, 255, 18], [0, 20, 255]] and moved.name(0).endswith("1.mat")
    with pytest.raises(DataError, match=r"0\.mat: the value 20 stands for no class \(1 pixels\)"):
        SbdMaps(maps.paths, index_table(range(20))).read(0)


def test_compressed_files(tmp_path):
    savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": VALUES}}, do_compression=True)
    assert np.array_equal(read_sbd(str(tmp_path / "a.mat")), VALUES)


def test_other_files(tmp_path):
    savemat(tmp_path / "other.mat", {"GTinst": {"Segmentation": VALUES}})
    savemat(tmp_path / "float.mat", {"GTcls": {"Segmentation": VALUES / 2}})
    (tmp_path / "text.mat").write_text("no such file, and long enough to be taken for one of an old version" * 9)
    whole = (tmp_path / "other.mat").read_bytes()
    (tmp_path / "half.mat").write_bytes(whole[:150])
    for name, words in [("other", "is no file of SBD"), ("float", "float64"), ("text", "is no file of SBD"),
                        ("half", "is no file of SBD"), ("none", "does not exist")]:  # fmt: skip
        with pytest.raises(DataError, match=words) as caught:
            read_sbd(str(tmp_path / f"{name}.mat"))
        assert f"{name}.mat" in str(caught.value)

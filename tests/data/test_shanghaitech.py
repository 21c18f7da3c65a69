"""ShanghaiTech's tree, its .mat files written as the released ones are nested."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from visionkit.data.adaptive_kernels import FixedKernel
from visionkit.data.shanghaitech import read_locations, shanghaitech
from visionkit.errors import DataError


def write_mat(path, location: np.ndarray, number: int | None = None) -> None:
    """image_info: a cell (1, 1) that holds a struct (1, 1) of `location` and `number`."""
    number = len(location) if number is None else number
    struct = np.zeros((1, 1), dtype=[("location", object), ("number", object)])
    struct[0, 0]["location"], struct[0, 0]["number"] = location, np.array([[number]], np.uint16)
    cell = np.empty((1, 1), object)
    cell[0, 0] = struct
    savemat(path, {"image_info": cell})


@pytest.fixture
def tree(tmp_path):
    counts = {"train_data": [3, 0, 5], "test_data": [2]}
    rng = np.random.default_rng(0)
    for split, heads in counts.items():
        images, truths = (tmp_path / "part_B" / split / name for name in ("images", "ground_truth"))
        images.mkdir(parents=True), truths.mkdir()
        for n, count in enumerate(heads, start=9):  # 9, 10, 11: in the order of the numbers, not of the names
            pixels = rng.integers(0, 256, (30, 40), dtype=np.uint8)  # some of part A are gray
            Image.fromarray(pixels).save(images / f"IMG_{n}.jpg")
            write_mat(truths / f"GT_IMG_{n}.mat", rng.uniform(1, 30, (count, 2)))
    return tmp_path


def test_the_nesting_is_that_of_the_released_files(tmp_path):
    """As published code reads them: `loadmat(path)["image_info"][0, 0][0, 0][0]`."""
    from scipy.io import loadmat

    location = np.array([[1.0, 1.0], [29.32, 225.57]])
    write_mat(tmp_path / "a.mat", location)
    content = loadmat(tmp_path / "a.mat")["image_info"]
    np.testing.assert_array_equal(content[0, 0][0, 0][0], location)
    np.testing.assert_array_equal(content[0][0][0][0][0], location)
    assert int(content[0, 0][0, 0][1].item()) == 2
    found = read_locations(str(tmp_path / "a.mat"))
    np.testing.assert_allclose(found, [[0.5, 0.5], [28.82, 225.07]])  # MATLAB's first pixel has its middle at 1


def test_the_tree(tree):
    data = shanghaitech(str(tree), "part_B", kernel=FixedKernel(4.0))
    assert data.names == ("person",) and data.train.counts.tolist() == [3, 0, 5] and data.val.counts.tolist() == [2]
    assert [data.train.path(i)[-10:] for i in range(3)] == ["/IMG_9.jpg", "IMG_10.jpg", "IMG_11.jpg"]
    assert data.train.size(0) == (30, 40) and data.train.report == [] and set(data.train.sigmas) == {4.0}
    from visionkit.data.points_dataset import PointsDataset
    from visionkit.ops.keep_size import KeepSize

    assert PointsDataset(data.train, None, KeepSize(), 0)[0, 0].image.shape == (30, 40, 3)


def test_without_heads(tmp_path):
    for location in (np.zeros((0, 2)), np.zeros((0, 0))):
        write_mat(tmp_path / "a.mat", location, 0)
        assert read_locations(str(tmp_path / "a.mat")).shape == (0, 2)


def test_files_of_another_layout(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"image_info": np.zeros((2, 2))})
    with pytest.raises(DataError, match="a.mat is no file of ShanghaiTech's"):
        read_locations(str(path))
    savemat(path, {"annPoints": np.zeros((2, 2))})  # UCF's
    with pytest.raises(DataError, match="a.mat is no file of ShanghaiTech's"):
        read_locations(str(path))
    path.write_bytes(b"MATLAB 5.0 MAT-file, cut short")
    with pytest.raises(DataError, match="a.mat is no file of ShanghaiTech's"):
        read_locations(str(path))
    write_mat(path, np.ones((3, 4)))
    with pytest.raises(DataError, match=r"location is \(3, 4\)"):
        read_locations(str(path))
    write_mat(path, np.ones((3, 2)), 4)
    with pytest.raises(DataError, match="number is 4, and location has 3 heads"):
        read_locations(str(path))


def test_broken_trees(tree):
    with pytest.raises(DataError, match=r"part_A does not exist: .* has part_B"):
        shanghaitech(str(tree), "part_A")
    with pytest.raises(DataError, match="train does not exist|images does not exist"):
        shanghaitech(str(tree), "part_B", train="train")
    (tree / "part_B/train_data/images/Thumbs.db").write_bytes(b"")
    data = shanghaitech(str(tree), "part_B")
    assert "1 files are no IMG_n.jpg and were left out, such as Thumbs.db" in data.train.report[0]
    (tree / "part_B/train_data/ground_truth/GT_IMG_10.mat").unlink()
    with pytest.raises(DataError, match="the file of points .*GT_IMG_10.mat does not exist"):
        shanghaitech(str(tree), "part_B")

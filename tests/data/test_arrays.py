"""MNIST's idx files and CIFAR's binary batches, against the arrays they were written from; and damaged ones."""

import gzip
import struct

import numpy as np
import pytest

from visionkit.data.array_pictures import ArrayPictures
from visionkit.data.cifar_binary import cifar10, cifar100
from visionkit.data.classification import labelled_batches, labelled_sample
from visionkit.data.idx import mnist
from visionkit.errors import DataError
from visionkit.ops.center_crop import CenterCrop

RANDOM = np.random.default_rng(0)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(params=[False, True], ids=["plain", "gz"])
def digits(request, tmp_path):
    """(folder, arrays by file name); the files are zipped in one of the two cases."""
    arrays = {}
    for split, count in (("train", 12), ("t10k", 7)):
        arrays[f"{split}-images-idx3-ubyte"] = RANDOM.integers(0, 256, (count, 28, 20), dtype=np.uint8)
        arrays[f"{split}-labels-idx1-ubyte"] = RANDOM.integers(0, 10, count, dtype=np.uint8)
    for name, array in arrays.items():
        write(tmp_path, name, idx(array), request.param)
    return tmp_path, arrays, request.param


def write(folder, name, content, zipped):
    (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)


def test_mnist(digits):
    folder, arrays, zipped = digits
    data = mnist(str(folder))
    assert data.names == tuple("0123456789") and (len(data.train), len(data.val)) == (12, 7)
    for index, split in ((data.train, "train"), (data.val, "t10k")):
        assert np.array_equal(index.labels, arrays[f"{split}-labels-idx1-ubyte"])
        for i, expected in enumerate(arrays[f"{split}-images-idx3-ubyte"]):
            image = labelled_sample(index, i).image
            assert image.shape == (28, 20, 3) and all(np.array_equal(image[..., c], expected) for c in range(3))
    chosen = data.train.select(np.array([5, 2]))
    name = f"{folder / 'train-images-idx3-ubyte'}{'.gz' if zipped else ''}"
    assert [chosen.path(i) for i in (0, 1)] == [f"{name}[5]", f"{name}[2]"]
    assert np.array_equal(chosen.pictures.read(1), data.train.pictures.read(2))
    assert isinstance(data.train.pictures.arrays[0], np.memmap) != zipped
    assert data.train.pictures.encoded(0) is None


def test_pictures_of_arrays_reach_worker_processes(digits):
    index = mnist(str(digits[0])).train
    alone = [batch.pixels for _, batch in labelled_batches(index, CenterCrop(20, 20), 5)]
    spread = [batch.pixels for _, batch in labelled_batches(index, CenterCrop(20, 20), 5, workers=2)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, spread, strict=True)) and len(alone) == 3


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("train-images-idx3-ubyte", lambda b: b[:3] + b"\1" + b[4:],
         "images-idx3-ubyte.* begins with 0x00000801, not with 0x00000803"),
        ("train-images-idx3-ubyte", lambda b: b[:2] + b"\x0d" + b[3:], "it begins with 0x00000d03"),
        ("t10k-images-idx3-ubyte", lambda b: b[:-1], "holds 3935 bytes, and its header promises 3936"),
        ("t10k-images-idx3-ubyte", lambda b: b + b"x", "holds 3937 bytes, and its header promises 3936"),
        ("t10k-images-idx3-ubyte", lambda b: b[:6], "holds 6 bytes, and its header promises"),
        ("train-labels-idx1-ubyte", lambda b: idx(np.zeros(11, np.uint8)), "has 12 pictures, and .*labels.* 11 labels"),
        ("train-labels-idx1-ubyte", lambda b: b[:10] + b"\x0a" + b[11:],
         r"labels-idx1-ubyte.*\[2\]: the label 10 is outside the list of 10"),
        ("train-labels-idx1-ubyte", lambda b: b"", "train-labels-idx1-ubyte"),
    ],
)  # fmt: skip
def test_damaged_idx_files(digits, name, change, words):
    folder, arrays, zipped = digits
    write(folder, name, change(idx(arrays[name])), zipped)
    with pytest.raises(DataError, match=words) as caught:
        mnist(str(folder))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_broken_zip(digits):
    folder, _, zipped = digits
    suffix = ".gz" if zipped else ""
    path = folder / f"t10k-labels-idx1-ubyte{suffix}"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte does not exist, nor does t10k-labels-idx1-ubyte.gz"):
        mnist(str(folder))
    zipped_path = folder / "t10k-labels-idx1-ubyte.gz"
    for broken in (gzip.compress(content)[:-9], b"no zip at all"):
        zipped_path.write_bytes(broken)
        with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
            mnist(str(folder))


CLASSES = ["airplane", "automobile", "bird"]


@pytest.fixture
def cifar(tmp_path):
    """Both data sets with few pictures: (folder, {file: (labels (N, L), pixels (N, 32, 32, 3))})."""
    arrays = {}
    for file, columns in [
        *((f"data_batch_{k}.bin", 1) for k in range(1, 6)),
        ("test_batch.bin", 1),
        ("train.bin", 2),
        ("test.bin", 2),
    ]:
        labels = RANDOM.integers(0, 3, (4, columns), dtype=np.uint8)
        pixels = RANDOM.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        records = np.concatenate([labels, pixels.transpose(0, 3, 1, 2).reshape(4, -1)], axis=1)
        (tmp_path / file).write_bytes(records.tobytes())
        arrays[file] = (labels, pixels)
    for file, names in (("batches.meta.txt", CLASSES), ("fine_label_names.txt", ["apple", "bear", "crab"]),
                        ("coarse_label_names.txt", ["fruit", "large", "small"])):  # fmt: skip
        (tmp_path / file).write_text("\n".join(names) + "\n\n")
    return tmp_path, arrays


def test_cifar10(cifar):
    folder, arrays = cifar
    data = cifar10(str(folder))
    assert data.names == tuple(CLASSES) and (len(data.train), len(data.val)) == (20, 4)
    for i in range(20):
        labels, pixels = arrays[f"data_batch_{i // 4 + 1}.bin"]
        assert np.array_equal(data.train.pictures.read(i), pixels[i % 4]) and data.train.labels[i] == labels[i % 4, 0]
    assert data.train.path(17) == f"{folder / 'data_batch_5.bin'}[1]"
    assert all(isinstance(array, np.memmap) for array in data.train.pictures.arrays), "nothing is copied"
    assert data.train.pictures.read(3).flags["C_CONTIGUOUS"] and data.train.pictures.read(3).flags["WRITEABLE"]


@pytest.mark.parametrize(("coarse", "column", "first"), [(False, 1, "apple"), (True, 0, "fruit")])
def test_cifar100(cifar, coarse, column, first):
    folder, arrays = cifar
    data = cifar100(str(folder), coarse)
    assert data.names[0] == first
    assert np.array_equal(data.train.labels, arrays["train.bin"][0][:, column])
    assert np.array_equal(data.val.pictures.read(2), arrays["test.bin"][1][2])


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("data_batch_3.bin", b"x" * 3072, "data_batch_3.bin holds 3072 bytes, no multiple of the 3073"),
        ("data_batch_3.bin", b"", "data_batch_3.bin cannot be read: it is empty"),
        ("data_batch_2.bin", b"\0" * 3073 + b"\3" * 3073,
         r"data_batch_2\.bin\[1\]: the label 3 is outside the list of 3"),
        ("batches.meta.txt", b"cat\n\ndog\n", "batches.meta.txt, line 2"),
        ("batches.meta.txt", b"cat\ndog\ncat", "has the class 'cat' twice"),
        ("batches.meta.txt", b"\n", "names no class"),
        ("test_batch.bin", None, "test_batch.bin cannot be read: No such file"),
    ],
)  # fmt: skip
def test_damaged_batches(cifar, file, content, words):
    folder, _ = cifar
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=words):
        cifar10(str(folder))


def test_no_pictures_and_wrong_arrays():
    assert len(ArrayPictures.join([], [])) == 0
    assert len(ArrayPictures.join([np.zeros((0, 4, 4), np.uint8)], ["a"])) == 0
    for wrong in (np.zeros((2, 4, 4)), np.zeros((2, 3, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            ArrayPictures.join([wrong], ["a"])

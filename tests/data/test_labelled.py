"""Folders of pictures, cut-out objects, their samples and batches."""

import numpy as np
import pytest
from PIL import Image

from visionkit.data.classification import LabelledDataset, labelled_batches, labelled_sample
from visionkit.data.crops import cut_out, objects
from visionkit.data.folders import folder
from visionkit.data.index import IndexBuilder
from visionkit.data.loaders import TrainLoader
from visionkit.data.random_crops import PadCrop, RandomResizedCrop
from visionkit.data.sources import join_splits
from visionkit.data.transforms import Chain, RandomFlip
from visionkit.errors import ConfigError, DataError
from visionkit.ops.center_crop import CenterCrop


def picture(path, color, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), color).save(path)


@pytest.fixture
def tree(tmp_path):
    for split, count in (("train", 5), ("val", 2)):
        for k, name in enumerate(("ant", "bee", "cat")):
            for i in range(count):
                picture(tmp_path / split / name / f"{i}.png", (80 * k, 10 * i, 7))
    return tmp_path


def test_a_folder_for_each_class(tree):
    (tree / "train" / "bee" / "notes.txt").write_text("not a picture")
    (tree / "train" / "bee" / ".DS_Store").write_text("nobody's")
    data = folder(str(tree))
    assert data.names == ("ant", "bee", "cat")
    assert (len(data.train), len(data.val)) == (15, 6)
    assert data.train.class_counts().tolist() == [5, 5, 5]
    assert data.train.report == [
        f"{tree / 'train'}: 1 files that are no pictures were left out, such as {tree / 'train/bee/notes.txt'}."
    ]
    sample = labelled_sample(data.train, 7)
    assert sample.truth.image_label == 1 and sample.image[0, 0].tolist() == [80, 20, 7]


def test_classes_are_joined_by_name(tree):
    for path in (tree / "val" / "ant").iterdir():
        path.unlink()
    (tree / "val" / "ant").rmdir()
    data = folder(str(tree))
    assert data.val.names == data.names
    assert data.val.class_counts().tolist() == [0, 2, 2]
    picture(tree / "val" / "dog" / "0.png", (1, 2, 3))
    with pytest.raises(DataError, match="class 'dog' is not among the known classes: ant, bee, cat"):
        folder(str(tree))


def test_class_folders_alone_are_split(tree):
    data = folder(str(tree / "train"), val_fraction=0.4)
    assert data.train.class_counts().tolist() == [3, 3, 3] and data.val.class_counts().tolist() == [2, 2, 2]
    taken = {data.train.path(i) for i in range(9)} | {data.val.path(i) for i in range(6)}
    assert len(taken) == 15, "each picture is in one split"
    again = folder(str(tree / "train"), val_fraction=0.4)
    assert [again.val.path(i) for i in range(6)] == [data.val.path(i) for i in range(6)]
    other = folder(str(tree / "train"), val_fraction=0.4, seed=3)
    assert [other.val.path(i) for i in range(6)] != [data.val.path(i) for i in range(6)]


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda t: (t / "train" / "dog").mkdir(), "the class 'dog' has no pictures"),
        (lambda t: (t / "val").rename(t / "held"), "val does not exist: a folder with a folder of pictures"),
    ],
)
def test_what_is_missing_is_named(tree, break_it, sentence):
    break_it(tree)
    with pytest.raises(DataError, match=sentence):
        folder(str(tree))


def test_an_empty_root_and_a_wrong_fraction(tmp_path):
    with pytest.raises(DataError, match="has no folders: one for each class is wanted"):
        folder(str(tmp_path))
    with pytest.raises(ConfigError, match="val_fraction=1.5"):
        folder(str(tmp_path), val_fraction=1.5)


def detection(path):
    builder = IndexBuilder(("x", "y"), str(path))
    builder.add_image(str(path), 1, (40, 50))
    builder.add_object((10.0, 10.0, 20.0, 30.0), 1)
    builder.add_object((0.0, 0.0, 4.0, 30.0), 0)  # too small
    builder.add_object((30.0, 5.0, 50.0, 25.0), 0)
    builder.add_object((5.0, 5.0, 45.0, 35.0), 0, crowd=True)
    return builder.build()


def test_objects_are_cut_out_with_a_margin(tmp_path):
    picture(tmp_path / "a.png", (9, 9, 9), (40, 50))
    index = detection(tmp_path / "a.png")
    data = objects(join_splits(index, index), margin=0.1, min_side=8)
    assert data.names == ("x", "y") and data.train.labels.tolist() == [1, 0]
    assert data.train.crops.tolist() == [[8, 8, 22, 32], [28, 3, 50, 27]]
    assert "2 objects are under 8 px, crowds or difficult: left out" in data.train.report[-1]
    assert labelled_sample(data.train, 0).image.shape == (24, 14, 3)


def test_cut_out_takes_every_pixel_the_box_touches():
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    assert np.array_equal(cut_out(image, np.array([1.2, 0.0, 3.1, 2.0])), image[0:2, 1:4])


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (224, 224), (100, 1000), (257, 333)])
def test_center_crop_is_torchvisions(size):
    from torchvision.transforms import functional as V

    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = CenterCrop(256, 224)(image)
    expected = np.asarray(V.center_crop(V.resize(Image.fromarray(image), 256), 224))
    assert found.shape == expected.shape == (224, 224, 3)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1  # Pillow rounds between its two passes


def test_center_crop_refuses_a_cut_larger_than_the_picture():
    with pytest.raises(ValueError, match="size <= short"):
        CenterCrop(100, 200)


def test_the_same_key_gives_the_same_sample_and_another_epoch_another_one(tree):
    augment = Chain([PadCrop(4), RandomFlip(0.5)])
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(image).save(tree / "train" / "ant" / "0.png")
    dataset = LabelledDataset(folder(str(tree)).train, augment, CenterCrop(16, 16), seed=1)
    first = [dataset[(epoch, 0)].image for epoch in range(4)]
    assert all(np.array_equal(a, dataset[(epoch, 0)].image) for epoch, a in enumerate(first))
    assert len({a.tobytes() for a in first}) == 4
    assert all(a.shape == (16, 16, 3) for a in first)


def test_pad_crop_only_moves_the_picture(tree):
    sample = labelled_sample(folder(str(tree)).train, 14)
    seen = set()
    for seed in range(400):
        moved = PadCrop(2)(type(sample)(sample.image, sample.truth, 1, (20, 30), seed=seed)).image
        assert moved.shape == sample.image.shape
        rows = np.flatnonzero(moved.any(axis=(1, 2)))
        columns = np.flatnonzero(moved.any(axis=(0, 2)))
        seen.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert len(seen) == 25, "five places along each side"


def test_random_resized_crop_covers_the_stated_areas():
    ramp = np.zeros((100, 100, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(100)[:, None], np.arange(100)[None]
    from visionkit.structures import Sample, Truth

    none = np.zeros(0, np.int64)
    truth = Truth(np.zeros((0, 4), np.float32), none, none.astype(bool), image_label=0)
    crop = RandomResizedCrop(32, area=(0.25, 0.5))
    shares = []
    for seed in range(200):
        part = crop(Sample(ramp, truth, 1, (100, 100), seed=seed)).image
        assert part.shape == (32, 32, 3)
        height, width = (float(part[..., k].max()) - float(part[..., k].min()) for k in (0, 1))
        shares.append(height * width / 1e4)
    assert 0.18 < min(shares) < 0.3 and 0.42 < max(shares) < 0.55
    tall = np.zeros((500, 4, 3), np.uint8)
    assert crop(Sample(tall, truth, 1, (500, 4), seed=1)).image.shape == (32, 32, 3)


@pytest.mark.parametrize("transform", [PadCrop(), RandomResizedCrop(8)])
def test_label_only_transforms_refuse_boxes(tmp_path, transform):
    from visionkit.data.dataset import DetectionDataset

    picture(tmp_path / "a.png", (9, 9, 9), (40, 50))
    dataset = DetectionDataset(detection(tmp_path / "a.png"), transform, None, 0)
    with pytest.raises(ConfigError, match="is for classification"):
        dataset[(0, 0)]


def test_loaders_give_labels_and_every_picture_once(tree):
    data = folder(str(tree))
    loader = TrainLoader(
        LabelledDataset(data.train, None, CenterCrop(16, 16), 0), batch_size=5, seed=0, canvas=(16, 16), multiple=1
    )
    assert loader.steps_per_epoch == 3
    stream = loader.batches()
    batches = [next(stream) for _ in range(3)]
    stream.close()
    labels = [label for _, targets in batches for label in targets.image_labels.tolist()]
    assert sorted(labels) == [0] * 5 + [1] * 5 + [2] * 5
    assert batches[0][0].pixels.shape == (5, 3, 16, 16) and not batches[0][1].valid.any()
    found = [i for rank in (0, 1) for positions, _ in labelled_batches(data.val, CenterCrop(16, 16), 4, 0, rank, 2)
             for i in positions]  # fmt: skip
    assert sorted(found) == list(range(6))


def test_a_broken_picture_is_named(tree):
    (tree / "val" / "bee" / "1.png").write_bytes(b"not a png")
    with pytest.raises(DataError, match=r"bee/1\.png"):
        list(labelled_batches(folder(str(tree)).val, CenterCrop(16, 16), 2))


@pytest.mark.parametrize(("augment", "same"), [(None, True), (RandomFlip(0.0), True), (RandomResizedCrop(16), False)])
def test_a_file_of_the_networks_size_is_zoomed_alike_in_training_and_test(tmp_path, augment, same):
    ramp = np.repeat(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], 16, axis=0).repeat(3, axis=2)
    for split in ("train", "val"):
        (tmp_path / split / "ant").mkdir(parents=True)
        Image.fromarray(ramp).save(tmp_path / split / "ant/0.png")
    data, resize = folder(str(tmp_path)), CenterCrop(20, 16)
    trained = LabelledDataset(data.train, augment, resize, 0)[(0, 0)].image
    _, tested = next(labelled_batches(data.val, resize, 1))
    assert np.array_equal(trained, tested.pixels[0].permute(1, 2, 0).numpy()) == same


def test_hidden_folders_and_odd_names(tree):
    picture(tree / "train" / "ant" / ".ipynb_checkpoints" / "0.png", (1, 1, 1))
    picture(tree / "train" / "ant" / "n\udcff.png", (3, 3, 3))  # a name that is not UTF-8
    data = folder(str(tree))
    assert data.train.class_counts().tolist() == [6, 5, 5]
    assert [labelled_sample(data.train, i).image[0, 0, 0] for i in range(6)].count(3) == 1


def test_a_cut_out_picture_of_another_size_than_stated_is_named(tmp_path):
    picture(tmp_path / "a.png", (9, 9, 9), (20, 25))
    index = detection(tmp_path / "a.png")
    data = objects(join_splits(index, index))
    with pytest.raises(DataError, match=r"a\.png is 25 x 20 pixels \(upright\), but its annotation says 50 x 40"):
        list(labelled_batches(data.val, CenterCrop(16, 16), 2))


@pytest.mark.parametrize("shape", [(2, 6000), (6000, 2)])
def test_thin_pictures_take_no_memory(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert CenterCrop(256, 224)(image).shape == (224, 224, 3)
    wide = np.zeros((10, 200, 3), np.uint8)
    wide[:, 95:105] = 255  # the middle is what is seen
    assert CenterCrop(20, 16)(wide).mean() > 200


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PadCrop(-1), "pad must be"),
        (lambda: RandomResizedCrop(0), "size must be"),
        (lambda: RandomResizedCrop(8, area=(8, 100)), "area must be"),
        (lambda: RandomResizedCrop(8, ratio=(0, 1)), "ratio must be"),
    ],
)
def test_transforms_check_their_settings(make, words):
    with pytest.raises(ValueError, match=words):
        make()

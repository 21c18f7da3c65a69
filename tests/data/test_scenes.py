"""The generated pictures: determinism, the stated bounds, truth that agrees with itself, and no colour shortcut."""

import dataclasses
import hashlib
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from visionkit.data.coco import read_coco
from visionkit.data.scene_layout import tight_box
from visionkit.data.scene_picture import Picture, draw
from visionkit.data.scene_settings import SceneSettings, settings_from
from visionkit.data.scene_shapes import SHAPES, coverage, fit
from visionkit.data.scene_textures import texture_seeds
from visionkit.data.scene_voc import semantic
from visionkit.data.scenes import generate, scenes
from visionkit.data.voc import read_voc
from visionkit.errors import ConfigError, DataError

TINY = SceneSettings(train_images=5, val_images=3)
CONFIGS = Path(__file__).parents[2] / "configs" / "data"


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[Picture]]:
    settings = SceneSettings()
    start = time.perf_counter()
    drawn = {
        "train": [draw(settings, "train", i) for i in range(250)],
        "val": [draw(settings, "val", i) for i in range(80)],
    }
    print(f"\n{330 / (time.perf_counter() - start):.0f} pictures/s in one process")
    return drawn


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("scenes"), TINY, "both")


def same(a: Picture, b: Picture) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))


def test_a_picture_depends_on_seed_split_and_number_alone(pictures: dict[str, list[Picture]]) -> None:
    settings = SceneSettings(train_images=7)
    assert same(draw(settings, "train", 31), pictures["train"][31])
    assert same(draw(settings, "val", 3), pictures["val"][3])
    others = [
        draw(settings, "val", 31),
        draw(settings, "train", 32),
        draw(dataclasses.replace(settings, seed=1), "train", 31),
    ]
    assert not any(same(other, pictures["train"][31]) for other in others)


def test_the_pictures_of_this_generator_version_stay_the_same(pictures: dict[str, list[Picture]]) -> None:
    """Fails when the pictures change: then raise GENERATOR_VERSION and put the new figures here.

    The truth is compared exactly; colours by their means, since processors round floats differently."""
    if not cv2.__version__.startswith("5.0."):
        pytest.skip("the digest was taken with OpenCV 5.0")
    truth = hashlib.sha256()
    for picture in pictures["train"][:50]:
        truth.update(picture.labels.tobytes() + picture.boxes.tobytes() + np.packbits(picture.masks).tobytes())
    assert truth.hexdigest()[:16] == "3caf6a4b698fd775"
    means = [float(p.image.mean()) for p in pictures["train"][:50]]
    assert [round(float(np.mean(means)), 1), round(float(np.std(means)), 1)] == [122.5, 21.5]


def test_textures_of_the_splits_are_disjoint(pictures: dict[str, list[Picture]]) -> None:
    for train_count, val_count in ((400, 400), (400, 7), (1, 1)):
        assert not set(texture_seeds("train", train_count)) & set(texture_seeds("val", val_count))
        assert len(texture_seeds("val", val_count)) == val_count
    used = {split: {number for p in drawn for number in p.textures} for split, drawn in pictures.items()}
    assert used["train"] <= set(texture_seeds("train", 400)) and len(used["train"]) > 300
    assert used["val"] <= set(texture_seeds("val", 400))


def test_counts_sizes_and_occlusion_keep_their_bounds(pictures: dict[str, list[Picture]]) -> None:
    drawn = pictures["train"] + pictures["val"]
    assert all(112 <= side <= 160 for p in drawn for side in p.image.shape[:2])
    assert {len(p.labels) for p in drawn} == {2, 3, 4, 5, 6}
    boxes = np.concatenate([p.boxes for p in drawn])
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert 12 <= longer.min() <= 14 and 90 <= longer.max() <= 100
    visible = np.concatenate([p.masks.sum(axis=(1, 2)) / p.full_areas for p in drawn])
    assert visible.min() >= 0.7 and visible.max() == 1
    assert 0.1 < (visible < 1).mean() < 0.5  # occlusion happens, and is not the rule for everything
    counts = np.bincount(np.concatenate([p.labels for p in drawn]), minlength=8)
    assert counts.min() > 0.7 * counts.mean()  # all classes about equally often


def test_masks_and_boxes_agree(pictures: dict[str, list[Picture]]) -> None:
    for p in pictures["val"]:
        assert p.image.dtype == np.uint8 and p.boxes.dtype == np.float32 and p.labels.dtype == np.int64
        assert p.masks.sum(axis=0).max() <= 1  # a pixel belongs to one object at most
        for box, mask in zip(p.boxes, p.masks, strict=True):
            assert np.array_equal(tight_box(mask), box)


@pytest.mark.parametrize("bound", [{"occlusion": 0.0, "overlap": 1.0}, {"occlusion": 0.9, "overlap": 0.0}])
def test_no_occlusion_and_no_rotation_when_so_asked(bound: dict[str, float]) -> None:
    settings = SceneSettings(**bound, rotation=0.0, classes=("triangle",), objects=(3, 6))
    for number in range(20):
        p = draw(settings, "train", number)
        assert np.array_equal(p.masks.sum(axis=(1, 2)), p.full_areas)
        for mask in p.masks:  # the triangle's first corner points right: the rightmost column is its thinnest
            columns = np.flatnonzero(mask.any(axis=0))
            assert mask[:, columns[-1]].sum() < mask[:, columns[0]].sum()


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_the_side_asked_for_and_are_legible_when_small(name: str) -> None:
    rng = np.random.default_rng(0)
    for side in (12.0, 13.0, 47.3, 100.0):
        for degrees in (0.0, 30.0, 45.0, -121.0):
            solid = coverage(fit(SHAPES[name](rng), degrees, side)) >= 128
            x1, y1, x2, y2 = tight_box(solid)
            assert abs(max(x2 - x1, y2 - y1) - side) <= 1.5
            pieces, _ = cv2.connectedComponents(solid.astype(np.uint8), connectivity=8)
            holes, _ = cv2.connectedComponents(np.pad(~solid, 1, constant_values=True).astype(np.uint8), connectivity=4)
            assert pieces == 2  # background and one piece
            assert holes == (3 if name == "ring" else 2)


def colour_features(picture: Picture) -> list[np.ndarray]:
    """A 4 x 4 x 4 RGB histogram of each object's crop, with the means and deviations of the channels."""
    rows = []
    for box in picture.boxes.astype(int):
        crop = picture.image[box[1] : box[3], box[0] : box[2]].reshape(-1, 3)
        bins = (crop // 64).astype(int) @ [16, 4, 1]
        histogram = np.bincount(bins, minlength=64) / len(crop)
        rows.append(np.concatenate([np.sqrt(histogram), crop.mean(axis=0) / 255, crop.std(axis=0) / 255]))
    return rows


def shape_features(picture: Picture) -> list[np.ndarray]:
    """Invariants of each visible mask: fill of its box, Hu moments, solidity; nothing of its colour."""
    rows = []
    for box, mask in zip(picture.boxes.astype(int), picture.masks, strict=True):
        crop = mask[box[1] : box[3], box[0] : box[2]].astype(np.uint8)
        contours, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        hull = cv2.convexHull(np.concatenate(contours))
        hu = np.log(np.abs(cv2.HuMoments(cv2.moments(crop, binaryImage=True))[:4, 0]) + 1e-7)
        solidity = crop.sum() / max(cv2.contourArea(hull), 1)
        circle = crop.sum() / (np.pi * max(cv2.minEnclosingCircle(hull)[1], 1) ** 2)
        rows.append(np.array([solidity, circle, float(len(contours) > 1), *hu / 3]))
    return rows


def accuracy(train: np.ndarray, train_labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray) -> float:
    """The better of 7 nearest neighbours and a small network."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    a, b = (torch.tensor((x - mean) / deviation, dtype=torch.float32) for x in (train, val))
    labels, truth = torch.from_numpy(train_labels), torch.from_numpy(val_labels)
    nearest = labels[torch.cdist(b, a).topk(7, largest=False).indices].mode(dim=1).values
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(a.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 8))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=1e-1)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(a), labels).backward()
        optimizer.step()
    guesses = (nearest, net(b).argmax(dim=1))
    return max(float((guess == truth).float().mean()) for guess in guesses)


def test_colour_alone_does_not_tell_the_class(pictures: dict[str, list[Picture]]) -> None:
    labels = {split: np.concatenate([p.labels for p in drawn]) for split, drawn in pictures.items()}
    found = {}
    for features in (colour_features, shape_features):
        rows = {split: np.stack([row for p in drawn for row in features(p)]) for split, drawn in pictures.items()}
        found[features] = accuracy(rows["train"], labels["train"], rows["val"], labels["val"])
    print(f"\ncolour only {found[colour_features]:.3f}, shape only {found[shape_features]:.3f}, chance 0.125")
    assert found[colour_features] < 0.5
    assert found[shape_features] > 0.6  # the same classifier does learn from what does tell the class


def test_both_trees_hold_the_same_truth(both: Path) -> None:
    for split, count in (("train", 5), ("val", 3)):
        coco = read_coco(str(both / f"coco/annotations/instances_{split}.json"), str(both / "coco" / split))
        voc = read_voc(str(both / "voc"), split, list(TINY.classes))
        assert len(coco) == len(voc) == count and tuple(coco.names) == tuple(voc.names) == TINY.classes
        assert coco.report == voc.report == []
        for i in range(count):
            drawn = draw(TINY, split, i)
            a, b = coco.truth(i), voc.truth(i)
            assert np.array_equal(a.boxes, drawn.boxes) and np.array_equal(b.boxes, drawn.boxes)
            assert np.array_equal(a.labels, drawn.labels) and np.array_equal(b.labels, drawn.labels)
            assert np.array_equal(a.area, drawn.masks.sum(axis=(1, 2)))
            assert np.array_equal(coco.masks(i), drawn.masks)
            assert coco.size(i) == voc.size(i) == drawn.image.shape[:2]
            assert Path(coco.path(i)).read_bytes() == Path(voc.path(i)).read_bytes()
            stored = cv2.imread(coco.path(i))[:, :, ::-1].astype(int)
            assert np.abs(stored - drawn.image).mean() < 8  # JPEG, RGB order


def test_masks_and_labels_on_disk(both: Path) -> None:
    drawn = draw(TINY, "val", 1)
    for path in ("coco/semantic/val", "voc/SegmentationClass"):
        with Image.open(both / path / "val_000001.png") as image:
            assert image.mode == "P" and image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
            assert np.array_equal(np.asarray(image), semantic(drawn))
    with Image.open(both / "voc/SegmentationObject/val_000001.png") as image:
        instances = np.asarray(image)
    assert all(np.array_equal(instances == k + 1, mask) for k, mask in enumerate(drawn.masks))
    largest = TINY.classes[drawn.labels[drawn.masks.sum(axis=(1, 2)).argmax()]]
    assert (both / "image_labels_val.csv").read_text().splitlines()[2] == f"val_000001,{largest}"
    lines = (both / "voc/ImageSets/Main/circle_train.txt").read_text().splitlines()
    present = [0 in draw(TINY, "train", i).labels for i in range(5)]
    assert [line.split()[1] for line in lines] == ["1" if has else "-1" for has in present]


def test_ids_are_positive_and_unique_over_both_splits(both: Path) -> None:
    files = [json.loads((both / f"coco/annotations/instances_{split}.json").read_text()) for split in ("train", "val")]
    for key in ("images", "annotations"):
        ids = [entry["id"] for file in files for entry in file[key]]
        assert min(ids) >= 1 and len(set(ids)) == len(ids)


def test_generation_is_reused_kept_apart_and_leaves_nothing_behind(tmp_path: Path) -> None:
    first = generate(tmp_path, TINY)
    stamp = (first / "scenes.json").stat().st_mtime_ns
    assert generate(tmp_path, TINY) == first and (first / "scenes.json").stat().st_mtime_ns == stamp
    assert json.loads((first / "scenes.json").read_text())["settings"]["train_images"] == 5
    other = generate(tmp_path, dataclasses.replace(TINY, seed=1))
    assert other != first and sorted(tmp_path.iterdir()) == sorted([first, other])


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import visionkit.data.scenes as module

    def interrupted(*_: object) -> Picture:
        if len(list(tmp_path.rglob("*.jpg"))) == 3:
            raise KeyboardInterrupt
        return draw(TINY, "train", 0)

    monkeypatch.setattr(module, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["coco", "voc"])
def test_scenes_gives_detection_data(tmp_path: Path, format: str) -> None:
    node = yaml.safe_load((CONFIGS / "scenes_tiny.yaml").read_text())
    del node["_target_"]
    data = scenes(**{**node, "root": str(tmp_path), "format": format, "train_images": 6, "val_images": 2})
    assert len(data.train) == 6 and len(data.val) == 2
    assert tuple(data.names) == tuple(data.train.names) == tuple(data.val.names) == tuple(node["classes"])


def test_the_yaml_states_the_default_difficulty() -> None:
    node = yaml.safe_load((CONFIGS / "scenes.yaml").read_text())
    for key in ("_target_", "root", "format"):
        del node[key]
    assert settings_from(node).digest() == SceneSettings().digest()
    assert set(node) == {field.name for field in dataclasses.fields(SceneSettings)}  # every key is shown


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"oclusion": 0.1}, "oclusion"),
        ({"object_size": (100, 12)}, "object_size"),
        ({"object_size": 30}, "object_size"),
        ({"object_size": (12, 300)}, "object_size"),
        ({"object_size": (80, 100)}, "80 px"),
        ({"image_size": ("a", 3)}, "image_size"),
        ({"classes": ("circle", "banana")}, "banana"),
        ({"classes": ("circle", "circle")}, "twice"),
        ({"classes": ()}, "classes"),
        ({"occlusion": 1.5}, "occlusion"),
        ({"occlusion": float("nan")}, "occlusion"),
        ({"train_images": 0}, "train_images"),
        ({"train_images": 10.5}, "train_images"),
        ({"seed": -1}, "seed"),
        ({"overlap": 2}, "overlap"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Path, settings: dict[str, object], culprit: str) -> None:
    with pytest.raises(ConfigError, match=culprit) as caught:
        scenes(root=str(tmp_path), **settings)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_too_many_objects_for_the_picture() -> None:
    settings = SceneSettings(image_size=(64, 64), objects=(50, 50), object_size=(30, 60))
    with pytest.raises(ConfigError, match="no room"):
        draw(settings, "train", 0)


def test_wrong_format_and_unwritable_root(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="yolo"):
        generate(tmp_path, TINY, "yolo")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        generate(tmp_path / "file", TINY)

"""One trained model through every door: training's evaluation, evaluate, demo and `visionkit.load` agree exactly."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from small_runs import SCENES, files_below, picture

import visionkit
from visionkit.data.coco import read_coco
from visionkit.data.dataset import DetectionDataset

TURN = Image.Transpose


def corners(box: list[float]) -> list[float]:
    """COCO's x y w h, differences of float32 and so exact, as x1 y1 x2 y2."""
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def by_image(path: Path) -> dict[int, list[tuple[int, float, list[float]]]]:
    """Category, score and corners of a results file's entries, by image."""
    found: dict[int, list[tuple[int, float, list[float]]]] = {}
    for entry in json.loads(path.read_text()):
        found.setdefault(entry["image_id"], []).append((entry["category_id"], entry["score"], corners(entry["bbox"])))
    return {image: sorted(rows) for image, rows in found.items()}


def by_demo(path: Path, categories: list[dict[str, Any]]) -> list[tuple[int, float, list[float]]]:
    """The same of one of the demo's JSON files."""
    ids = {category["name"]: category["id"] for category in categories}
    content = json.loads(path.read_text())
    return sorted((ids[found["class"]], found["score"], found["box"]) for found in content["detections"])


# A model through all doors


def test_demo_gives_the_boxes_of_the_evaluation(tool, trained, tmp_path):
    out = tmp_path / "out"
    outcome = tool("demo", f"checkpoint={trained.best}", f"source={trained.tree.root / 'val2017'}", f"output={out}")
    assert outcome.code == 0 and "4 pictures" in outcome.out
    assert files_below(out) == sorted(f"{i}.{end}" for i in (11, 12, 13, 14) for end in ("jpg", "json"))
    evaluated = by_image(trained.run / "eval/predictions.json")
    assert sum(map(len, evaluated.values())) > 8  # else there is nothing to compare
    for image in (11, 12, 13, 14):
        assert by_demo(out / f"{image}.json", trained.tree.val["categories"]) == evaluated.get(image, [])
        height, width = SCENES[14 - image][0]
        content = json.loads((out / f"{image}.json").read_text())
        assert (content["height"], content["width"]) == (height, width)
        assert Path(content["source"]) == trained.tree.root / f"val2017/{image}.png"


def test_evaluate_repeats_the_metrics_of_training(tool, trained, tmp_path):
    outcome = tool("evaluate", f"checkpoint={trained.best}", "workers=0", f"output={tmp_path / 'eval'}")
    assert outcome.code == 0 and "AP50" in outcome.out
    for name in ("metrics.json", "predictions.json"):
        assert (tmp_path / "eval" / name).read_bytes() == (trained.run / "eval" / name).read_bytes()


def test_evaluate_with_workers_and_a_batch(tool, trained, tmp_path):
    """Padding within a batch moves boxes by 1e-4 at most; workers change nothing."""
    arguments = [f"checkpoint={trained.best}", "workers=2", f"output={tmp_path / 'eval'}"]
    assert tool("evaluate", *arguments).code == 0
    assert (tmp_path / "eval/predictions.json").read_bytes() == (trained.run / "eval/predictions.json").read_bytes()
    assert tool("evaluate", *arguments, "batch_size=4", "workers=0").code == 0
    one, four = (by_image(folder / "eval/predictions.json") for folder in (trained.run, tmp_path))
    assert {image: len(rows) for image, rows in one.items()} == {image: len(rows) for image, rows in four.items()}
    for image in one:
        for (_, score, box), (_, other_score, other) in zip(one[image], four[image], strict=True):
            assert score == pytest.approx(other_score, abs=1e-4) and box == pytest.approx(other, abs=1e-3)


def test_evaluate_of_other_data_leaves_the_runs_numbers(tool, trained):
    before = (trained.run / "eval/metrics.json").read_bytes()
    assert tool("evaluate", f"checkpoint={trained.best}", "workers=0", "split=train").code == 0
    assert tool("evaluate", f"checkpoint={trained.best}", "workers=0", *trained.tree.arguments).code == 0
    assert (trained.run / "eval/metrics.json").read_bytes() == before
    assert (trained.run / "eval_coco/metrics.json").read_bytes() == before  # the same data under its own name
    assert {entry["image_id"] for entry in json.loads((trained.run / "eval_train/predictions.json").read_text())} <= {
        1, 2, 3, 4,
    }  # fmt: skip


def test_evaluate_of_a_results_file(tool, trained, tmp_path):
    arguments = [f"predictions={trained.run / 'eval/predictions.json'}", f"truth={trained.tree.annotations('val')}"]
    outcome = tool("evaluate", *arguments, f"output={tmp_path / 'eval'}")
    assert outcome.code == 0 and "disc" in outcome.out
    own = json.loads((tmp_path / "eval/metrics.json").read_text())
    assert own == {k: v for k, v in json.loads((trained.run / "eval/metrics.json").read_text()).items() if k in own}
    assert {"AP", "AP50", "AP75", "AP_small", "AR100"} <= set(own)
    assert files_below(tmp_path) == ["eval/metrics.json"]


def test_the_truth_as_a_results_file_is_perfect(tool, trained, tmp_path):
    perfect = [entry | {"score": 1.0} for entry in trained.tree.val["annotations"]]
    (tmp_path / "perfect.json").write_text(json.dumps(perfect))
    truth = trained.tree.annotations("val")
    arguments = [f"predictions={tmp_path / 'perfect.json'}", f"truth={truth}", f"output={tmp_path / 'eval'}"]
    assert tool("evaluate", *arguments).code == 0
    metrics = json.loads((tmp_path / "eval/metrics.json").read_text())
    assert metrics["AP"] == metrics["AP50"] == pytest.approx(1.0) and metrics["AP_large"] is None


def test_library_use(trained):
    model = visionkit.load(trained.best)
    assert model.names == tuple(sorted(model.names)) and model.config["seed"] == 0
    evaluated = by_image(trained.run / "eval/predictions.json")
    ids = [category["id"] for category in trained.tree.val["categories"]]
    for image in (11, 14):
        path = trained.tree.root / f"val2017/{image}.png"
        array = np.asarray(Image.open(path).convert("RGB"))
        for found in (model.predict(path), model.predict(str(path)), model.predict(array)):
            rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
            assert sorted((ids[label], score, box) for label, score, box in rows) == evaluated[image]


@pytest.mark.parametrize(
    "array", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)]
)
def test_arrays_that_are_no_rgb_pictures(trained, array):
    with pytest.raises(ValueError, match="RGB array"):
        visionkit.load(trained.best).predict(array)


# Kinds of pictures: each beside its plain, upright RGB twin


def _kinds(folder: Path) -> list[str]:
    """Writes NAME.* and the RGB twin NAME_twin.png for each kind; gives the names."""
    folder.mkdir()
    rgb = Image.fromarray(picture(*SCENES[0], seed=5))
    gray = np.asarray(rgb.convert("L"))

    def write(name: str, image: Image.Image, twin: Image.Image, suffix: str = ".png", **options: Any) -> None:
        image.save(folder / f"{name}{suffix}", **options)
        twin.convert("RGB").save(folder / f"{name}_twin.png")

    write("gray", Image.fromarray(gray), Image.fromarray(gray))
    palette = rgb.quantize(64)
    write("palette", palette, palette)
    write("palette_gif", palette, palette, ".gif")
    clear = palette.copy()
    clear.info["transparency"] = 3
    write("palette_clear", clear, palette)
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(gray))  # the stored colours count, whatever their opacity
    write("alpha", alpha, rgb)
    gray_alpha = Image.fromarray(gray).convert("LA")
    write("gray_alpha", gray_alpha, Image.fromarray(gray))
    write("cmyk", rgb.convert("CMYK"), rgb.convert("CMYK").convert("RGB"), ".tif")
    write("sixteen", Image.fromarray(gray.astype(np.uint16) * 257), Image.fromarray(gray))
    write("one_bit", rgb.convert("1"), rgb.convert("1"))
    for tag, undo in {3: TURN.ROTATE_180, 6: TURN.ROTATE_90, 8: TURN.ROTATE_270, 2: TURN.FLIP_LEFT_RIGHT}.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        write(f"exif{tag}", rgb.transpose(undo), rgb, exif=exif)
    stored = folder / "stored.jpg"  # a JPEG is not lossless: its twin is what it decodes to
    rgb.transpose(TURN.ROTATE_90).save(stored)
    turned = Image.open(stored)
    turned.load()
    stored.unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.transpose(TURN.ROTATE_90).save(folder / "exif_jpeg.jpg", exif=exif)
    turned.transpose(TURN.ROTATE_270).save(folder / "exif_jpeg_twin.png")
    return sorted(path.stem for path in folder.iterdir() if not path.stem.endswith("_twin"))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A COCO tree whose two splits are the same pictures of all kinds, twins included."""
    root = tmp_path_factory.mktemp("kinds") / "coco"
    root.mkdir()
    names = _kinds(root / "val2017")
    (root / "train2017").symlink_to(root / "val2017")
    files = sorted(path.name for path in (root / "val2017").iterdir())
    images = [{"id": i, "file_name": name, "height": 64, "width": 80} for i, name in enumerate(files, 1)]
    categories = [{"id": i, "name": name} for i, name in enumerate(("cross", "disc", "square"), 1)]
    truth = {"images": images, "annotations": [], "categories": categories}
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(truth))
    ids = {Path(image["file_name"]).stem: image["id"] for image in images}
    return SimpleNamespace(root=root, names=names, ids=ids, categories=categories)


def test_all_kinds_of_pictures_are_there(kinds):
    modes = {Image.open(path).mode for path in (kinds.root / "val2017").iterdir()}
    assert {"L", "P", "RGBA", "LA", "CMYK", "I;16", "1", "RGB"} <= modes and len(kinds.names) == 14


def test_every_kind_is_seen_alike_by_training_evaluation_and_demo(tool, trained, kinds, tmp_path):
    index = read_coco(str(kinds.root / "annotations/instances_train2017.json"), str(kinds.root / "train2017"))
    trains = DetectionDataset(index, None, None, seed=0)
    pixels = {Path(index.path(i)).stem: trains.read(i).image for i in range(len(index))}
    checkpoint, data = f"checkpoint={trained.best}", ["data=coco", f"data.root={kinds.root}"]
    assert tool("evaluate", checkpoint, *data, "workers=0", f"output={tmp_path / 'eval'}").code == 0
    assert tool("demo", checkpoint, f"source={kinds.root / 'val2017'}", f"output={tmp_path / 'demo'}").code == 0
    evaluated = by_image(tmp_path / "eval/predictions.json")
    for name in kinds.names:
        twin = f"{name}_twin"
        assert np.array_equal(pixels[name], pixels[twin]), f"training sees {name} differently"
        found = evaluated[kinds.ids[twin]]
        assert found and evaluated[kinds.ids[name]] == found, f"evaluation sees {name} differently"
        for stem in (name, twin):
            assert by_demo(tmp_path / "demo" / f"{stem}.json", kinds.categories) == found, f"demo, {stem}"
        drawn = Image.open(tmp_path / "demo" / f"{name}.jpg")
        assert drawn.mode == "RGB" and drawn.width / drawn.height == pytest.approx(80 / 64, rel=0.02)


# The demo's sources


def test_equal_names_overwrite_nothing(tool, trained, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    for i, name in enumerate(("a.png", "a.bmp", "a_png.png", "b.c.png", "sub/a.png", "sub/deep.er/a.png")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(*SCENES[0], seed=i)).save(source / name)
    (source / "notes.txt").write_text("no picture")
    outcome = tool("demo", f"checkpoint={trained.best}", f"source={source}", f"output={out}")
    assert outcome.code == 0 and "6 pictures" in outcome.out
    written = [json.loads(path.read_text())["source"] for path in out.rglob("*.json")]
    pictures = sorted(str(path) for path in source.rglob("*.*") if path.suffix in (".png", ".bmp"))
    assert sorted(written) == pictures
    assert len(files_below(out)) == 12 and {"b.c.json", "sub/a.json", "sub/deep.er/a.jpg"} <= set(files_below(out))


def test_threshold_and_limit(tool, trained, tmp_path):
    """The threshold is for the eye: the JSON holds all detections."""
    source = trained.tree.root / "val2017"
    arguments = [f"checkpoint={trained.best}", f"source={source}", "limit=1"]
    outcome = tool("demo", *arguments, "threshold=1", f"output={tmp_path / 'none'}")
    assert "11.png: nothing above 1" in outcome.out and files_below(tmp_path / "none") == ["11.jpg", "11.json"]
    outcome = tool("demo", *arguments, "threshold=0", f"output={tmp_path / 'all'}")
    assert "nothing" not in outcome.out
    assert (tmp_path / "none/11.json").read_text() == (tmp_path / "all/11.json").read_text()
    assert (tmp_path / "none/11.jpg").read_bytes() != (tmp_path / "all/11.jpg").read_bytes()


@pytest.mark.parametrize("suffix,code", [(".avi", "MJPG"), (".mp4", "mp4v")])
def test_a_video(tool, trained, tmp_path, suffix, code):
    path, out = tmp_path / f"my film{suffix}", tmp_path / "out"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10.0, (80, 64))
    assert writer.isOpened()
    for i in range(3):
        writer.write(cv2.cvtColor(picture(*SCENES[0], seed=i), cv2.COLOR_RGB2BGR))
    writer.release()
    outcome = tool("demo", f"checkpoint={trained.best}", f"source={path}", f"output={out}", "threshold=0")
    assert outcome.code == 0 and "3 pictures" in outcome.out
    assert files_below(out) == ["my film.json", "my film.mp4"]
    content = json.loads((out / "my film.json").read_text())
    assert content["frames_per_second"] == pytest.approx(10)
    assert [frame["frame"] for frame in content["frames"]] == [f"frame_{i:06d}" for i in range(3)]
    capture, source = cv2.VideoCapture(str(out / "my film.mp4")), cv2.VideoCapture(str(path))
    model = visionkit.load(trained.best)
    for frame in content["frames"]:
        assert capture.read()[0]
        found = model.predict(cv2.cvtColor(source.read()[1], cv2.COLOR_BGR2RGB))
        assert [one["box"] for one in frame["detections"]] == found.boxes.tolist()
    assert not capture.read()[0]

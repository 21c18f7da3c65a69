from pathlib import Path

import pytest
import yaml

from visionkit.data.index import IndexBuilder
from visionkit.data.roots import resolve_root
from visionkit.data.sources import DetectionData, coco, join_splits, voc
from visionkit.errors import ConfigError, DataError

CONFIGS = Path(__file__).parents[2] / "configs"


def built(name: str, group: str = "data", **changes):
    import importlib

    node = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text()) | changes
    module, _, function = node.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), function)(**node)


class TestRoots:
    def test_as_given_wins(self, tmp_path, monkeypatch) -> None:
        (tmp_path / "here/set").mkdir(parents=True)
        (tmp_path / "shared/set").mkdir(parents=True)
        monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path / "shared"))
        assert resolve_root("set") == tmp_path / "shared/set"
        monkeypatch.chdir(tmp_path / "here")
        assert resolve_root("set") == Path("set")
        assert resolve_root(tmp_path / "here/set") == tmp_path / "here/set"

    def test_repository_is_last(self, monkeypatch) -> None:
        monkeypatch.delenv("VISIONKIT_DATASETS", raising=False)
        monkeypatch.setattr("visionkit.data.roots._REPOSITORY", CONFIGS.parent)
        monkeypatch.chdir("/")
        assert resolve_root(".") == Path(".")
        with pytest.raises(DataError, match="datasets/nosuch"):
            resolve_root("nosuch")

    def test_missing_names_all_that_was_tried(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path / "shared"))
        with pytest.raises(
            DataError, match=r"data root 'no/set' does not exist; tried no/set, .*shared/no/set, .*datasets"
        ):
            resolve_root("no/set")
        with pytest.raises(DataError, match=r"tried /no/set \("):
            resolve_root("/no/set")

    def test_home(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "set").mkdir()
        assert resolve_root("~/set") == tmp_path / "set"


class TestVoc:
    def test_joined_by_name(self, voc_tree) -> None:
        voc_tree.add("a", [("dog", (1, 1, 5, 5)), ("cat", (1, 1, 5, 5))])
        voc_tree.add("b", [("dog", (1, 1, 5, 5))], split="val")
        data = voc(str(voc_tree.root), "train", ["val"])
        assert data.names == data.val.names == ("cat", "dog")
        assert data.val.truth(0).labels.tolist() == [1]

    def test_unknown_class_in_validation(self, voc_tree) -> None:
        voc_tree.add("a", [("dog", (1, 1, 5, 5))])
        voc_tree.add("b", [("emu", (1, 1, 5, 5))], split="val")
        with pytest.raises(DataError, match=r"b\.xml: object 1: class 'emu'"):
            voc(str(voc_tree.root), ["train"], ["val"])

    def test_two_trees(self, tmp_path, new_voc_tree) -> None:
        for year, name in (("VOC2007", "dog"), ("VOC2012", "cat")):
            tree = new_voc_tree(tmp_path / year)
            tree.add("000001", [(name, (1, 1, 5, 5))], split="trainval")
            tree.add("000002", [(name, (1, 1, 9, 9))], split="test")
        data = voc(str(tmp_path), ["VOC2007/trainval", "VOC2012/trainval"], ["VOC2007/test"])
        assert data.names == ("cat", "dog") and data.train.image_ids.tolist() == [1, 2]
        assert [data.train.truth(i).labels.tolist() for i in (0, 1)] == [[1], [0]]
        assert "VOC2012" in data.train.path(1) and len(data.val) == 1
        joined = built("voc0712", root=str(tmp_path))
        assert joined.names[7] == "cat" and [joined.train.labels.tolist(), len(joined.names)] == [[11, 7], 20]

    def test_images_without_objects(self, voc_tree) -> None:
        voc_tree.add("a", [])
        voc_tree.add("b", [("dog", (1, 1, 5, 5))])
        assert len(voc(str(voc_tree.root), "train", "train").train) == 2
        data = voc(str(voc_tree.root), "train", "train", keep_empty=False)
        assert len(data.train) == 1 and len(data.val) == 2

    def test_empty_sets(self, voc_tree) -> None:
        voc_tree.add("a", [])
        (voc_tree.root / "ImageSets/Main/none.txt").write_text("")
        with pytest.raises(DataError, match=r"\(none\): the training set is empty"):
            voc(str(voc_tree.root), "none", "train", names=["dog"])
        with pytest.raises(DataError, match=r"\(none\): the validation set is empty"):
            voc(str(voc_tree.root), "train", "none", names=["dog"])
        with pytest.raises(DataError, match="names no class"):
            voc(str(voc_tree.root), "train", "train")
        with pytest.raises(DataError, match="training set is empty"):
            voc(str(voc_tree.root), "train", "train", names=["dog"], keep_empty=False)
        with pytest.raises(DataError, match="no split"):
            voc(str(voc_tree.root), [], "train")


class TestCoco:
    def test_joined_by_name(self, coco_file, annotation) -> None:
        path, folder = coco_file([annotation()])
        split = {"annotations": Path(path).name, "images": Path(folder).name}
        data = coco(str(Path(path).parent), split, split)
        assert data.names == ("first", "last") and len(data.val) == 3

    def test_mistyped_key(self, tmp_path) -> None:
        split = {"annotations": "a.json", "image": "train"}
        with pytest.raises(
            ConfigError, match=r"data\.train needs the keys annotations and images, not annotations, image"
        ):
            coco(str(tmp_path), split, split)

    def test_validation_of_other_categories(self, tmp_path) -> None:
        def index(names: list[str], label: int):
            builder = IndexBuilder(names, f"{names[0]}.json")
            builder.add_image("a.jpg", 1, (9, 9))
            builder.add_object((0, 0, 5, 5), label)
            return builder.build()

        data = join_splits(index(["a", "b"], 0), index(["b", "extra"], 0))
        assert data.val.names == ("a", "b") and data.val.truth(0).labels.tolist() == [1]
        with pytest.raises(DataError, match=r"b\.json: class 'extra' is not among the known classes: a, b"):
            join_splits(index(["a", "b"], 0), index(["b", "extra"], 1))

    def test_names_must_agree(self) -> None:
        one, other = IndexBuilder(["a"], "x").build(), IndexBuilder(["b"], "x").build()
        with pytest.raises(ValueError, match="must agree"):
            DetectionData(one, other, ("a",))


class TestConfigs:
    @pytest.mark.parametrize(
        ("name", "folder", "train", "val", "classes"),
        [("bccd", "bccd", 205, 87, 3), ("raccoon", "raccoon", 160, 40, 1), ("coco_mini", "coco_mini", 80, 79, 80)],
    )
    def test_real_data(self, datasets_root, name, folder, train, val, classes) -> None:
        if not (datasets_root / folder).is_dir():
            pytest.skip(f"no {folder} among the data sets")
        data = built(name)
        assert (len(data.train), len(data.val), len(data.names)) == (train, val, classes)

    @pytest.mark.parametrize("name", ["voc", "voc07", "voc0712", "coco"])
    def test_missing_data_is_one_sentence(self, name, monkeypatch, tmp_path) -> None:
        monkeypatch.setenv("VISIONKIT_DATASETS", str(tmp_path))
        monkeypatch.setattr("visionkit.data.roots._REPOSITORY", tmp_path)
        with pytest.raises(DataError, match="data root .* does not exist"):
            built(name)

    def test_augmentations(self) -> None:
        from visionkit.data.augment import Augment
        from visionkit.data.transforms import RandomFlip, Unchanged

        kinds = [type(built(name, "augment")) for name in ("none", "flip", "standard")]
        assert kinds == [Unchanged, RandomFlip, Augment]

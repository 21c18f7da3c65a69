"""R-CNN's fits on pictures: what each stage changes, features on disk, resumption, empty cases, and what is refused."""

import copy
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from tests.rcnn.conftest import NAMES, Jittered, packed, tiny, with_proposals
from visionkit.data.loaders import test_batches as batches_of
from visionkit.data.sources import DetectionData
from visionkit.errors import ConfigError, DataError, NonFiniteLossError
from visionkit.feature_store import FeatureStore
from visionkit.phases import build_phases
from visionkit.rcnn import fit_box_regressors, fit_svms
from visionkit.region_vectors import region_features
from visionkit.training_regions import TrainingRegions


@pytest.fixture(scope="module")
def trained(data) -> dict:
    """The state of a tiny R-CNN after a little fine-tuning."""
    from visionkit.data.collate import targets_for

    model = tiny()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(5):
        for positions, batch, _ in batches_of(data.train, model.resize, 4):
            optimizer.zero_grad()
            model(batch, targets_for(data.train, positions, batch))["loss_class"].backward()
            optimizer.step()
    return model.state_dict()


def fresh(trained, **settings):
    model = tiny(**settings)
    model.load_state_dict({k: v for k, v in trained.items() if v.shape == model.state_dict()[k].shape}, strict=False)
    return model.eval()


def found(model, data) -> list:
    return [one for _, batch, sizes in batches_of(data.val, model.resize, 1) for one in model.detect(batch, sizes)]


def same(ours: list, theirs: list) -> bool:
    return all(
        torch.equal(getattr(a, key), getattr(b, key))
        for a, b in zip(ours, theirs, strict=True)
        for key in ("boxes", "scores", "labels")
    )


def test_each_stage_changes_what_is_found_and_a_copy_of_the_state_finds_the_same(data, trained, tmp_path):
    model = fresh(trained)
    softmax = found(model, data)
    told = fit_svms(model, data, folder=tmp_path, keep=True)
    svms = found(model, data)
    (place,) = tmp_path.iterdir()
    told |= fit_box_regressors(model, data, folder=tmp_path)
    boxes = found(model, data)
    assert told["svm_positives"] == 16 and told["svm_fits"] >= 2 and told["box_pairs"] > 40
    assert not same(softmax, svms) and not same(svms, boxes)
    assert all(one.scores.max() <= 1 and one.scores.min() > 0.05 for one in boxes if len(one.scores))
    assert not any((one.labels == 2).any() for one in boxes), "a class without positives never fires"
    assert not place.exists(), "keep=False deletes the features"
    copied = tiny()
    copied.load_state_dict(model.state_dict())
    assert same(found(copied, data), boxes)


def test_svms_that_know_nothing_say_so(data, trained, tmp_path, capsys):
    told = fit_svms(fresh(trained), data, folder=tmp_path, C=1e-9)
    assert told["svm_right"] == 0
    assert "the SVM of class 'green' takes all its 6 objects for background" in capsys.readouterr().err


def test_the_network_is_left_alone(data, trained, tmp_path):
    model = fresh(trained).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fit_svms(model, data, folder=tmp_path)
    fit_box_regressors(model, data, folder=tmp_path)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith(("head.svms", "head.ridge")) for key in changed)
    assert model.training


def test_hard_negatives_change_the_planes_and_the_detections(data, trained, tmp_path):
    without, mined = fresh(trained), fresh(trained)
    told = [
        fit_svms(model, data, passes=passes, folder=tmp_path, keep=True, C=0.1)
        for model, passes in ((without, 0), (mined, 1))
    ]
    assert told[0]["svm_hard_negatives"] == 0 < told[1]["svm_hard_negatives"]
    assert not torch.equal(without.head.svms.weight, mined.head.svms.weight)
    assert not same(found(without, data), found(mined, data))


def test_the_features_of_the_files_are_those_of_detection_and_are_used(data, trained, tmp_path):
    model = fresh(trained)
    regions = TrainingRegions(data.train, model.propose.top)
    store = region_features(model, regions, model.head.box_channels, tmp_path, "float32")
    (_, batch, _), *_ = batches_of(data.train.select([5]), model.resize, 1)
    boxes = torch.from_numpy(regions.boxes(5))
    with torch.inference_mode():
        vectors = model.encode(batch, {}, boxes, torch.zeros(len(boxes), dtype=torch.int64)).numpy()
    np.testing.assert_allclose(store.vectors(5), vectors[:, : model.head.channels], atol=1e-5)
    pairs = regions[5].pairs(0.6)
    np.testing.assert_allclose(store.windows(5), vectors[pairs, model.head.channels :], atol=1e-5)
    fit_svms(model, data, folder=tmp_path, dtype="float32", keep=True)
    honest = model.head.svms.weight.clone()
    for i in range(len(store)):
        store.write(i, -store.vectors(i), store.windows(i), (1.0, 1.0))  # other numbers in the same file
    fit_svms(model, data, folder=tmp_path, dtype="float32", keep=True)
    assert not torch.allclose(honest, model.head.svms.weight)


def test_a_damaged_file_is_noticed_and_named(data, trained, tmp_path):
    model = fresh(trained)
    fit_svms(model, data, folder=tmp_path, keep=True)
    (file,) = tmp_path.glob("*/vectors.bin")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"vectors.bin: the features of image \d+ are damaged"):
        fit_svms(model, data, folder=tmp_path)


def test_an_interrupted_pass_goes_on_with_the_images_that_are_missing(data, trained, tmp_path, monkeypatch, capsys):
    whole = fresh(trained)
    fit_svms(whole, data, folder=tmp_path / "whole")
    model, write, seen = fresh(trained), FeatureStore.write, []

    def stop(store, i, *rest):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(i)
        write(store, i, *rest)

    monkeypatch.setattr(FeatureStore, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_svms(model, data, folder=tmp_path)
    monkeypatch.setattr(FeatureStore, "write", lambda store, i, *rest: (seen.append(i), write(store, i, *rest))[1])
    fit_svms(model, data, folder=tmp_path)
    assert sorted(seen) == list(range(12)), "each image once"
    assert torch.equal(model.head.svms.weight, whole.head.svms.weight)
    said = capsys.readouterr().err
    assert "features of 346 regions in 12 images take" in said and "5 images are there already" in said
    assert "class 'none' has not a single object among the training images: its SVM never fires." in said


def test_other_weights_settings_and_proposals_have_folders_of_their_own(data, trained, plain_index, tmp_path):
    model = fresh(trained)
    regions = TrainingRegions(data.train, 30)
    places = {region_features(model, regions, 16, tmp_path).folder}
    places.add(region_features(model, regions, 16, tmp_path).folder)
    assert len(places) == 1
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1e-3)
    places.add(region_features(other, regions, 16, tmp_path).folder)
    places.add(region_features(fresh(trained, context=1), regions, 16, tmp_path).folder)
    places.add(region_features(model, TrainingRegions(data.train, 29), 16, tmp_path).folder)
    places.add(region_features(model, TrainingRegions(with_proposals(plain_index, 31), 30), 16, tmp_path).folder)
    assert len(places) == 5
    model.train()
    assert region_features(model, regions, 16, tmp_path).folder in places, "the mode is not a setting"


def test_regressors_on_the_maps_are_not_those_on_the_vector(data, trained, tmp_path):
    maps, vector = fresh(trained), fresh(trained, box_input="vector")
    assert maps.head.box_channels != vector.head.box_channels == vector.head.channels
    for model in (maps, vector):
        fit_svms(model, data, folder=tmp_path)
        fit_box_regressors(model, data, folder=tmp_path, weight=10.0)
    assert torch.equal(maps.head.svms.weight, vector.head.svms.weight), "the SVMs see the same"
    assert not same(found(maps, data), found(vector, data))


def test_a_fit_repeats_bit_for_bit(data, trained, tmp_path):
    one, other = fresh(trained), fresh(trained)
    for model, name in ((one, "a"), (other, "b")):
        fit_svms(model, data, folder=tmp_path / name, keep=True)
        fit_box_regressors(model, data, folder=tmp_path / name)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_svms_on_fast_rcnns_vectors(data, tmp_path):
    from visionkit.heads.svm_box import SVMScores

    model = tiny("fast_rcnn", score_threshold=0.0)
    model.head = SVMScores(model.backbone.out_channels, len(NAMES), score_threshold=0.0, nms_threshold=0.3)
    softmax = found(model, data)
    deltas = model.head.bbox_pred.weight.clone()
    fit_svms(model, data, folder=tmp_path)
    assert not same(softmax, found(model, data)) and torch.equal(deltas, model.head.bbox_pred.weight)
    with pytest.raises(ConfigError, match="a SVMScores has no box regressors to fit"):
        fit_box_regressors(model, data)


def test_what_cannot_be_fitted(data, plain_index, trained, tmp_path):
    model = fresh(trained)
    no_proposals = DetectionData(plain_index, plain_index, NAMES)
    nothing = replace(plain_index, proposals=packed(plain_index, [Jittered()(None)] * 12)).select([0])
    none = replace(plain_index, proposals=data.train.proposals.best(0))
    for act, error, sentence in [
        (lambda: fit_svms(model, no_proposals), DataError, "blocks: the images come without proposals"),
        (lambda: fit_svms(model, DetectionData(none, none, NAMES)), DataError, "not a single proposal"),
        (lambda: fit_svms(model, DetectionData(nothing, nothing, NAMES)), DataError, "not a single object"),
        (lambda: fit_box_regressors(model, DetectionData(nothing, nothing, NAMES)), DataError, "not a single object"),
        (lambda: fit_svms(tiny("fast_rcnn"), data), ConfigError, "a BoxHead has no SVMs to fit: choose task=rcnn"),
        (lambda: fit_svms(model, data, C=0), ConfigError, "C=0: a number above 0"),
        (lambda: fit_svms(model, data, low=1.5), ConfigError, "low=1.5: an IoU between 0 and 1"),
        (lambda: fit_svms(model, data, passes=-1), ConfigError, "passes=-1: a whole number"),
        (lambda: fit_svms(model, data, dtype="int8"), ConfigError, "dtype=int8: features are kept as"),
        (lambda: fit_box_regressors(model, data, weight=True), ConfigError, "weight=True: a number above 0"),
    ]:
        with pytest.raises(error, match=sentence):
            act()
    torch.nn.init.constant_(model.backbone.bn1.bias, float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"vectors for .*\d.png have values that are no numbers"):
        fit_svms(model, data, folder=tmp_path)


def test_without_scikit_learn_the_extra_is_named(data, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(ConfigError, match=r"pip install visionkit\[svm\]"):
        fit_svms(fresh(trained), data)


SVMS = {"fit": {"_target_": "visionkit.rcnn.fit_svms", "_partial_": True}}
BOXES = {"fit": {"_target_": "visionkit.rcnn.fit_box_regressors", "_partial_": True}}


@pytest.mark.parametrize(
    ("task", "phases", "sentence"),
    [
        ("rcnn", {"train": {}}, "choose phases=rcnn"),
        ("rcnn", {"train": {}, "boxes": BOXES}, "choose phases=rcnn"),
        ("rcnn", {"train": {"share": 0.5}, "svms": SVMS, "again": {"share": 0.5}}, "phases.again trains the network"),
        (
            "fast_rcnn",
            {"train": {}, "svms": SVMS},
            "svms fits what this task's head has not: choose task=rcnn, or",
        ),
        (
            "fast_rcnn",
            {"train": {}, "boxes": BOXES},
            "boxes fits what this task's head has not: choose task=rcnn.",
        ),
    ],
)
def test_phases_that_do_not_go_with_the_head(task, phases, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_phases(configuration(phases), tiny(task), SimpleNamespace(), 100)


def test_the_phases_of_rcnn(data):
    train = {"share": 1.0}
    phases, _ = build_phases(configuration({"train": train, "svms": SVMS, "boxes": BOXES}), tiny(), data, 100)
    assert [phase.name for phase in phases] == ["train", "svms", "boxes"]


def configuration(phases: dict):
    optim = {
        "lr": 0.1, "weight_decay": 0.0, "norm_decay": 0.0, "bias_decay": 0.0, "lr_multipliers": {}, "depth_factor": 1.0,
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True},
    }  # fmt: skip
    trainer = {"base_batch": None, "batch_size": 4, "accumulate": 1}
    schedule = {"_target_": "visionkit.engine.schedule.constant", "_partial_": True}
    return OmegaConf.create({"phases": phases, "optim": optim, "trainer": trainer, "schedule": schedule})

"""Files of torchvision and detectron2 as checkpoints: loaded, evaluated, or refused in one sentence."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import visionkit
from tests.models.detectron2_files import as_file, random_state, shapes
from tests.models.torchvision_pairs import random_pixels
from visionkit import import_weights as module
from visionkit.backbones.norms import FrozenBatchNorm2d
from visionkit.backbones.resnet import resnet18
from visionkit.config import instantiate
from visionkit.data.coco_names import UNUSED, coco_names, coco_numbers
from visionkit.errors import ConfigError
from visionkit.import_weights import import_weights
from visionkit.models.import_torchvision import from_torchvision, weights_from_torchvision
from visionkit.models.imported import with_eps
from visionkit.ops.resize import TestResize
from visionkit.structures import Batch


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """torchvision's Faster R-CNN with 91 rows in a file, and itself."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
    model = FasterRCNN(body, 91, min_size=128, max_size=160, rpn_post_nms_top_n_test=30).eval()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("bn3.weight"):
                buffer.fill_(0.2)
        model.roi_heads.box_predictor.cls_score.weight.mul_(300)
    path = tmp_path_factory.mktemp("published") / "fasterrcnn_resnet50_fpn_coco.pth"
    torch.save(model.state_dict(), path)
    return model, path


@pytest.fixture(scope="module")
def imported(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("imported") / "frcnn.pt"
    lines = import_weights(str(published[1]), str(path), "torchvision")
    predictor = visionkit.load(path)
    predictor.model.resize = TestResize(128, 160)
    predictor.model.propose.test_top = (1000, 30)
    return predictor, lines


def test_a_checkpoint_predicts_what_torchvision_predicts(published, imported):
    theirs, (predictor, lines) = published[0], imported
    assert lines[0] == "torchvision's Faster R-CNN, first version, on a ResNet-50 with a pyramid"
    assert lines[1].endswith("90 classes, 10 of them unused numbers of COCO")
    pixels = random_pixels(1, seed=1)
    found = predictor.predict(pixels[0].permute(1, 2, 0).contiguous().numpy())
    with torch.inference_mode():
        (expected,) = theirs(list(pixels.float() / 255))
    assert len(found.labels) == len(expected["labels"]) > 10
    # With random weights some scores differ by rounding alone, and the order of such two by the processor: each of ours
    # has a partner of its own among theirs.
    same = (found.labels[:, None] == expected["labels"] - 1) & (
        (found.scores[:, None] - expected["scores"]).abs() <= 1e-5
    )  # (N, N)
    same &= (found.boxes[:, None] - expected["boxes"]).abs().amax(dim=2) <= 1e-3
    left = set(range(len(found.labels)))
    for row in same:
        partner = next((k for k in row.nonzero()[:, 0].tolist() if k in left), None)
        assert partner is not None
        left.remove(partner)


def test_unused_rows_keep_their_share_of_the_softmax(published, imported):
    """Without them the others' scores would grow."""
    theirs, model = published[0].roi_heads.box_predictor, imported[0].model
    vectors = torch.randn(4, 1024)
    ours = model.head(vectors)[0].softmax(dim=1)
    assert torch.allclose(ours[:, :90], theirs(vectors)[0].softmax(dim=1)[:, 1:], atol=1e-6)
    assert ours[:, [number - 1 for number in UNUSED]].sum() > 0


def test_names_are_cocos():
    numbers = coco_numbers()
    assert len(coco_names()) == 80 and len(numbers) == 90 and len(set(numbers)) == 90
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    theirs = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
    assert [name if not name.startswith("unused ") else "N/A" for name in numbers] == theirs
    assert numbers[11] == "unused 12" and coco_names() == tuple(name for name in theirs if name != "N/A")


def test_evaluates_on_data_with_80_classes(imported, datasets_root, tmp_path):
    """Joined by name: 90 classes of the model, 80 of the data."""
    predictor, _ = imported
    config = visionkit.config.compose("train", ["task=faster_rcnn", "data=coco_mini"])
    index = instantiate(config.data).val.select(range(2)).rename(predictor.names)
    assert index.names == predictor.names and len(set(index.category_ids.tolist())) == 90
    evaluator = instantiate(config.evaluation)(index=index, workers=0)
    report = evaluator(predictor.model, tmp_path)
    assert {"AP", "AP50"} <= set(report.metrics)
    known = dict(zip(index.names, index.category_ids.tolist(), strict=True))
    assert known["toothbrush"] == 90 and known["stop sign"] == 13  # COCO's own numbers, which its server wants
    assert (tmp_path / "predictions.json").exists()


def test_detectron2s_file(tmp_path):
    """The model zoo's format, written with numpy; its pixels are in the checkpoint."""
    state = random_state(shapes("C4"))
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(as_file(state), 2))
    lines = import_weights(str(path), str(tmp_path / "d2.pt"))
    assert lines[0] == "detectron2's Faster R-CNN, R50-C4" and "33,791,644 parameters, 80 classes" in lines[1]
    predictor = visionkit.load(tmp_path / "d2.pt")
    model = predictor.model
    assert torch.allclose(model.encode.normalize.std, torch.tensor(1 / 255))
    assert torch.allclose(model.encode.normalize.mean.flatten() * 255, torch.tensor([123.675, 116.28, 103.53]))
    assert model.encode.sampling == 0 and model.encode.aligned and predictor.names == coco_names()
    model.resize, model.propose.test_top = TestResize(64, 96), (100, 10)
    found = predictor.predict(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    assert found.boxes.isfinite().all()


def small_file(tmp_path, change=None, masks=False):
    """Narrow, so it fits no configuration, but all that is found out before is found."""
    state = random_state(shapes("FPN", 50, masks, 3, 4, 8, 16))
    if change:
        change(state)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(as_file(state), 2))
    return str(path)


def refused(sentence, file, tmp_path, **settings):
    with pytest.raises(ConfigError, match=sentence) as error:
        import_weights(file, str(tmp_path / "out.pt"), **settings)
    assert "\n" not in str(error.value) and not (tmp_path / "out.pt").exists()


def test_files_that_are_no_detectors(tmp_path):
    net = resnet18()
    torch.save(net.state_dict() | {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}, tmp_path / "r.pth")
    for kind in ("auto", "torchvision", "detectron2"):
        refused("cannot be imported: .*; it fits resnet18, a classifier: give it as backbone.weights",
                str(tmp_path / "r.pth"), tmp_path, kind=kind)  # fmt: skip
    torch.save({"stem.weight": torch.ones(3), "a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x.pth")
    refused("no Faster or Mask R-CNN of torchvision or .*, and no FCN of torchvision: it has stem.weight, a and 1 more",
            str(tmp_path / "x.pth"), tmp_path)  # fmt: skip
    refused("no weights file at .*none.pth", str(tmp_path / "none.pth"), tmp_path)


def test_a_checkpoint_of_ours(imported, tmp_path):
    torch.save({"kind": "visionkit checkpoint", "model": imported[0].model.state_dict()}, tmp_path / "ours.pt")
    refused("is a checkpoint of this kit already", str(tmp_path / "ours.pt"), tmp_path)


def test_cut_files(published, tmp_path):
    content = Path(small_file(tmp_path)).read_bytes()
    (tmp_path / "cut.pkl").write_bytes(content[: len(content) // 2])
    refused("cut.pkl is no pickle of arrays, or was cut short", str(tmp_path / "cut.pkl"), tmp_path)
    with open(published[1], "rb") as file:
        (tmp_path / "cut.pth").write_bytes(file.read(100_000))
    refused("cut.pth is broken or not a weights file", str(tmp_path / "cut.pth"), tmp_path)


def test_a_pickle_with_a_call_is_not_run(tmp_path):
    class Malice:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'was_run'}",)

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(as_file(random_state(shapes("FPN", 50, False, 3, 4, 8, 16))) | {"x": Malice()}))
    refused("model.pkl is refused: it asks for posix.system", str(path), tmp_path, kind="detectron2")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "caffe"}, "kind=caffe: it is one of auto, torchvision, detectron2"),
        ({"form": "x"}, "form=x: it is one of msra, torchvision"),
        ({"kind": "torchvision"}, "its keys are not those of kind=torchvision: leave kind out"),
        ({"frozen_eps": 0.0}, "frozen_eps is for files of torchvision"),
        ({"frozen_eps": -1.0}, "frozen_eps=-1.0: it is null or a number"),
        ({}, "has 3 classes, and COCO 80 .*names="),
        ({"names": ["a", "b"]}, "has 3 classes, and names="),
        ({"names": ["a", "b", "a"]}, "has 3 classes, and names=.* are 2 names"),
        ({"names": ["a", "b", "c"]}, "has shape .*, wanted is"),
    ],
)
def test_settings_that_do_not_go_with_the_file(tmp_path, settings, sentence):
    refused(sentence, small_file(tmp_path), tmp_path, **settings)


def test_unknown_and_missing_keys(tmp_path):
    added = small_file(tmp_path, lambda s: s.update({"roi_heads.extra.weight": torch.ones(1)}))
    refused("no Faster or Mask R-CNN of detectron2 that is known here has roi_heads.extra.weight", added, tmp_path)
    missing = small_file(tmp_path, lambda s: s.pop("roi_heads.box_head.fc2.bias"))
    refused("it lacks encode.backbone.box_tail.fc7.bias", missing, tmp_path, names=["a", "b", "c"])


def test_numbers_that_are_not_finite(published, tmp_path):
    state = {key: value.clone() for key, value in published[0].state_dict().items()}
    state["rpn.head.cls_logits.bias"][1] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    refused("numbers of propose.head.cls_logits.bias are not finite", str(tmp_path / "nan.pth"), tmp_path)


def test_names_from_a_file_and_settings_for_the_other_kind(published, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"name {i}" for i in range(90)))
    import_weights(str(published[1]), str(tmp_path / "named.pt"), names=str(tmp_path / "names.txt"))
    assert visionkit.load(tmp_path / "named.pt").names[89] == "name 89"
    refused("form=torchvision is for files of detectron2", str(published[1]), tmp_path, form="torchvision")


def test_norms_trained_without_an_eps():
    """torchvision sets it to 0 for the files it published first."""
    torch.manual_seed(0)
    statistics = {"weight": torch.rand(6), "bias": torch.rand(6), "running_mean": torch.rand(6)}
    statistics["running_var"] = torch.tensor([1e-7, 1e-6, 1e-5, 1e-3, 0.1, 2.0])  # some of ResNet-50's are as small
    x = torch.randn(2, 6, 3, 3)
    expected = nn.functional.batch_norm(
        x, statistics["running_mean"], statistics["running_var"], statistics["weight"], statistics["bias"], eps=0.0
    )
    ours = FrozenBatchNorm2d(6)
    named = {f"encode.backbone.body.bn1.{key}": value for key, value in statistics.items()}
    changed = with_eps(named, "encode.backbone.body.", 0.0)
    ours.load_state_dict({key.rpartition(".")[2]: value for key, value in changed.items()})
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)
    ours.load_state_dict(statistics)
    assert (ours(x) - expected).abs().max() > 1
    assert with_eps(named, "encode.backbone.body.", 1e-5) == named


def test_published_files_are_told_by_their_digest(published, tmp_path, monkeypatch):
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, MaskRCNN_ResNet50_FPN_Weights

    urls = [weights.COCO_V1.url for weights in (FasterRCNN_ResNet50_FPN_Weights, MaskRCNN_ResNet50_FPN_Weights)]
    assert [url[-12:-4] for url in urls] == list(module.WITHOUT_EPS)
    monkeypatch.setattr(module, "WITHOUT_EPS", (module._digest(published[1])[:8],))
    lines = import_weights(str(published[1]), str(tmp_path / "eps.pt"))
    assert "its frozen norms add 0 to the variance, ours 1e-05" in lines[1]
    key = "encode.backbone.body.bn1.running_var"
    found = visionkit.load(tmp_path / "eps.pt").model.state_dict()[key]
    assert torch.allclose(found, published[0].state_dict()["backbone.body.bn1.running_var"] - 1e-5)


def test_keys_of_older_torchvision_files(published):
    new = published[0].state_dict()
    shorter = [(r"(_blocks\.\d)\.0\.", r"\1."), (r"rpn\.head\.conv\.0\.0\.", "rpn.head.conv.")]
    old = dict(new)
    for pattern, name in shorter:
        old = {re.sub(pattern, name, key): value for key, value in old.items()}
    assert set(old) != set(new)
    a, b = weights_from_torchvision(old), weights_from_torchvision(new)
    assert set(a) == set(b) and all(torch.equal(a[key], b[key]) for key in b)
    masks = {f"roi_heads.mask_head.mask_fcn{n}.bias": torch.tensor(n) for n in range(1, 5)}
    assert weights_from_torchvision(masks) == {f"mask.convs.{n - 1}.0.bias": torch.tensor(n) for n in range(1, 5)}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "fasterrcnn_mobilenet_v3_large_fpn",
            "its body is no ResNet inside a pyramid: it has backbone.body.0.0.weight",
        ),
        ("keypointrcnn_resnet50_fpn", "that is known here has roi_heads.keypoint_head.0.weight and"),
        ("retinanet_resnet50_fpn", "no class scores"),
    ],
)
def test_other_detectors_of_torchvision(name, sentence):
    from torchvision.models import detection

    with torch.device("meta"):
        state = detection.__dict__[name](weights=None, weights_backbone=None).state_dict()
    with pytest.raises(ConfigError, match=sentence):
        from_torchvision(state)


@pytest.fixture(scope="module")
def published_fcn(tmp_path_factory):
    """torchvision's FCN with VOC's 21 classes in a file, and itself."""
    from torchvision.models.segmentation import fcn_resnet50

    torch.manual_seed(0)
    model = fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True, num_classes=21).eval()
    path = tmp_path_factory.mktemp("published") / "fcn_resnet50_coco.pth"
    torch.save(model.state_dict(), path)
    return model, path


def test_a_segmenter_predicts_what_torchvision_predicts(published_fcn, tmp_path):
    theirs, file = published_fcn
    lines = import_weights(str(file), str(tmp_path / "fcn.pt"))
    assert lines[0] == "torchvision's FCN on a ResNet-50, with its auxiliary head"
    assert lines[1].endswith("21 classes")
    predictor = visionkit.load(tmp_path / "fcn.pt")
    assert predictor.names[0] == "background" and predictor.names[15] == "person"
    assert predictor.config["data"]["_target_"].endswith("voc_segmentation")
    predictor.model.resize = TestResize(64, 96, multiple=1)
    pixels = random_pixels(1, seed=1)[:, :, :64, :96]
    found = predictor.predict(pixels[0].permute(1, 2, 0).contiguous().numpy())
    with torch.inference_mode():
        expected = theirs(predictor.model.normalize.forward(_batch(pixels)))["out"].softmax(dim=1)[0]
    torch.testing.assert_close(found.scores, expected.max(dim=0).values, rtol=0, atol=1e-5)
    assert float((found.labels == expected.argmax(dim=0)).float().mean()) > 0.999


def test_other_segmenters_are_refused(published_fcn, tmp_path):
    """DeepLab has the same body; its head has other names."""
    from torchvision.models.segmentation import deeplabv3_resnet50

    with torch.device("meta"):
        other = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21)
    state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in other.state_dict().items()}
    torch.save(state, tmp_path / "deeplab.pth")
    with pytest.raises(ConfigError, match=r"cannot be imported: it is no .* no FCN of torchvision"):
        import_weights(str(tmp_path / "deeplab.pth"), str(tmp_path / "out.pt"))
    with pytest.raises(ConfigError, match="frozen_eps is for detectors"):
        import_weights(str(published_fcn[1]), str(tmp_path / "out.pt"), frozen_eps=0.0)
    with pytest.raises(ConfigError, match="VOC 21 with background"):
        torch.save({k: v[:5] if k.startswith(("classifier.4", "aux_classifier.4")) else v
                    for k, v in published_fcn[0].state_dict().items()}, tmp_path / "five.pth")  # fmt: skip
        import_weights(str(tmp_path / "five.pth"), str(tmp_path / "out.pt"))


def _batch(pixels):
    none = torch.zeros(len(pixels), dtype=torch.int64)
    return Batch(pixels, torch.tensor([list(pixels.shape[-2:])] * len(pixels)), none, none)

import pickle
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from visionkit.data.augment import Augment
from visionkit.data.transforms import flip_horizontal
from visionkit.errors import ConfigError
from visionkit.structures import Sample, Truth

GEOMETRIC = [
    {"name": "HorizontalFlip", "p": 0.5},
    {"name": "Affine", "p": 0.8, "rotate": [-20, 20], "scale": [0.7, 1.4], "translate_percent": [-0.2, 0.2]},
]


def sample(seed: int = 0, objects: int = 3) -> Sample:
    rng = np.random.default_rng(1)
    boxes = np.array([[10, 20, 40, 60], [50, 5, 95, 70], [60.5, 60, 70, 79.5]], np.float32)[:objects]
    masks = np.zeros((objects, 80, 100), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    semantic = np.full((80, 100), 7, np.int64)
    semantic[:, 50:] = 255
    semantic[:5] = 0
    crowd = np.array([False, True, False])[:objects]
    truth = Truth(boxes, np.array([4, 0, 9])[:objects], crowd, masks, semantic, 3)
    image = rng.integers(0, 255, (80, 100, 3), np.uint8)
    return Sample(image, truth, 5, (80, 100), np.array([[10, 20, 40, 60], [0, 0, 3, 3]], np.float32), seed)


def test_flip_equals_our_own() -> None:
    moved, expected = Augment([{"name": "HorizontalFlip", "p": 1.0}])(sample()), flip_horizontal(sample())
    assert np.array_equal(moved.image, expected.image)
    assert moved.truth.boxes == pytest.approx(expected.truth.boxes, abs=1e-4)
    assert moved.proposals == pytest.approx(expected.proposals, abs=1e-4)
    assert np.array_equal(moved.truth.masks, expected.truth.masks)
    assert np.array_equal(moved.truth.semantic, expected.truth.semantic)
    assert moved.truth.labels.tolist() == [4, 0, 9] and moved.truth.crowd.tolist() == [False, True, False]
    assert (moved.id, moved.original_size, moved.truth.image_label) == (5, (80, 100), 3)


def test_boxes_follow_their_masks() -> None:
    """An axis-parallel shift and zoom, 40 times: each box stays the frame of its own mask, labels stay with them."""
    augment = Augment([{"name": "Affine", "p": 1.0, "scale": [0.7, 1.4], "translate_percent": [-0.4, 0.4]}])
    lost = 0
    for seed in range(40):
        truth = augment(sample(seed)).truth
        lost += 3 - len(truth.labels)
        assert len(truth.boxes) == len(truth.masks) == len(truth.labels) == len(truth.crowd)
        for box, mask, label, crowd in zip(truth.boxes, truth.masks, truth.labels, truth.crowd, strict=True):
            assert (label == 0) == crowd
            if mask.sum() > 30:
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                frame = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
                assert np.abs(box - frame).max() < 2
    assert 0 < lost < 100


def test_crop_drops_objects_with_their_labels_and_masks() -> None:
    crop = {"name": "Crop", "p": 1.0, "x_min": 45, "y_min": 0, "x_max": 100, "y_max": 58}
    moved = Augment([crop])(sample())
    assert moved.image.shape == (58, 55, 3) and moved.truth.labels.tolist() == [0]
    assert moved.truth.boxes == pytest.approx(np.array([[5, 5, 50, 58]]), abs=1e-3)
    assert moved.truth.masks.shape == (1, 58, 55) and moved.truth.masks[0, 5:, 5:50].all()
    assert moved.proposals.shape == (0, 4)
    assert Augment([crop], min_visibility=0.9)(sample()).truth.masks.shape == (0, 58, 55)


def test_semantic_pixels_from_outside_are_ignored() -> None:
    shift = {"name": "Affine", "p": 1.0, "translate_px": {"x": 30, "y": 0}, "scale": 1.0, "rotate": 0, "shear": 0}
    semantic = Augment([shift])(sample()).truth.semantic
    assert semantic.dtype == np.int64 and (semantic[:, :29] == 255).all()
    assert np.array_equal(semantic[:, 31:], sample().truth.semantic[:, 1:70])


@pytest.mark.parametrize("objects", [0, 3])
def test_without_objects_masks_proposals(objects: int) -> None:
    given = sample(2, objects)
    for masks in (None, given.truth.masks):
        bare = replace(given, truth=replace(given.truth, masks=masks, semantic=None), proposals=None)
        moved = Augment(GEOMETRIC)(bare)
        assert moved.proposals is None and moved.truth.semantic is None
        assert (moved.truth.masks is None) == (masks is None)
        assert moved.truth.boxes.shape == (len(moved.truth.labels), 4)
    assert Augment(GEOMETRIC)(sample(2, 0)).truth.masks.shape == (0, 80, 100)


def test_boxes_a_little_outside_or_degenerate_never_raise() -> None:
    boxes = np.array(
        [
            [-3, -2, 20, 20],
            [90, 70, 100.0001, 80.001],
            [5, 5, 5, 9],
            [30, 9, 20, 19],
            [200, 5, 210, 9],
            [0, 0, 100, 80],
        ],
        np.float32,
    )
    truth = Truth(boxes, np.arange(6), np.zeros(6, bool))
    for seed in range(20):
        moved = Augment(GEOMETRIC)(replace(sample(seed), truth=truth, proposals=boxes)).truth
        assert set(moved.labels.tolist()) <= {0, 1, 5}
        assert (
            (moved.boxes >= 0).all() and (moved.boxes[:, [0, 2]] <= 100).all() and (moved.boxes[:, [1, 3]] <= 80).all()
        )
        assert (moved.boxes[:, 2:] > moved.boxes[:, :2]).all()
    still = Augment([])(replace(sample(), truth=truth, proposals=None)).truth
    assert still.labels.tolist() == [0, 1, 5]
    assert still.boxes == pytest.approx(np.array([[0, 0, 20, 20], [90, 70, 100, 80], [0, 0, 100, 80]]), abs=1e-4)


def test_randomness_is_a_function_of_the_sample_seed() -> None:
    one, other = Augment(GEOMETRIC), Augment(GEOMETRIC)
    first = [one(sample(s)) for s in (1, 2, 3)]
    random.seed(9)
    np.random.seed(9)
    second = [other(sample(s)) for s in (3, 2, 1)][::-1]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.image, b.image) and np.array_equal(a.truth.boxes, b.truth.boxes)
    assert not np.array_equal(first[0].image, first[1].image) and not np.array_equal(first[1].image, first[2].image)
    big = one(sample(2**63 - 1))
    assert np.array_equal(big.image, other(sample(2**63 - 1)).image)


def test_global_generators_are_left_alone() -> None:
    random.seed(4)
    np.random.seed(4)
    expected = random.Random(4).random(), np.random.RandomState(4).rand()
    Augment(GEOMETRIC)(sample(8))
    assert (random.random(), np.random.rand()) == expected


def test_nested_and_pickled() -> None:
    nested = [
        {"name": "OneOf", "p": 1.0, "transforms": [{"name": "Blur", "p": 1.0}, {"name": "RandomGamma", "p": 1.0}]}
    ]
    augment = Augment(nested)
    again = pickle.loads(pickle.dumps(augment))
    assert np.array_equal(augment(sample(3)).image, again(sample(3)).image)
    assert not np.array_equal(augment(sample(3)).image, sample().image)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "HorizontalFlp"}, "no transform 'HorizontalFlp'; did you mean HorizontalFlip"),
        ({"name": "os"}, "no transform 'os'"),
        ({"p": 0.5}, "needs a name"),
        ({"name": "HorizontalFlip", "prob": 1}, "HorizontalFlip: .*prob"),
        ({"name": "RandomCrop"}, "RandomCrop: height: Field required"),
        ({"name": "HorizontalFlip", "p": 2}, "HorizontalFlip: p: "),
        ({"name": "OneOf", "transforms": [{"name": "Nope"}]}, "no transform 'Nope'"),
    ],
)
def test_mistakes_are_one_sentence(spec: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^augment: .*{words}") as caught:
        Augment([spec])
    assert "\n" not in str(caught.value)


def test_normalising_is_refused() -> None:
    with pytest.raises(ConfigError, match="uint8 RGB"):
        Augment([{"name": "Normalize"}])(sample())


def test_albumentations_is_imported_only_when_used() -> None:
    code = (
        "import sys, visionkit.data.augment, visionkit.data.loaders, visionkit.data.sources\n"
        "assert not {'albumentations', 'torchvision'} & set(sys.modules), 'imported'\n"
        "import os; os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None)\n"
        "visionkit.data.augment.Augment([{'name': 'HorizontalFlip'}])\n"
        "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1' and 'albumentations' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

import os
import random
from itertools import islice

import numpy as np
import pytest
import torch

from visionkit.data.augment import Augment
from visionkit.data.dataset import DetectionDataset
from visionkit.data.index import IndexBuilder
from visionkit.data.loaders import TrainLoader
from visionkit.data.loaders import test_batches as batches_for_test
from visionkit.data.order import EpochOrder
from visionkit.data.transforms import RandomFlip, TrainResize
from visionkit.data.workers import run_workers
from visionkit.errors import DataError
from visionkit.ops.resize import TestResize

SHAPES = [(40, 60), (60, 40), (40, 64), (30, 30), (64, 40), (40, 60), (20, 60), (66, 40), (40, 50)]


def flat(batches) -> list[torch.Tensor]:
    return [t for b, g in batches for t in (b.pixels, b.sizes, b.ids, b.seeds, g.boxes, g.labels, g.valid, g.crowd)]


def assert_equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert len(a) == len(b)
    assert all(torch.equal(x, y) and x.stride() == y.stride() for x, y in zip(a, b, strict=True))


def loader(index, **changes) -> TrainLoader:
    augment = changes.pop("augment", RandomFlip())
    dataset = DetectionDataset(index, augment, TrainResize([20, 30], 60), seed=5)
    return TrainLoader(dataset, **({"batch_size": 2, "seed": 5} | changes))


def ids(batches) -> list[list[int]]:
    return [batch.ids.tolist() for batch, _ in batches]


class TestOrder:
    def test_every_image_once_an_epoch(self) -> None:
        order = EpochOrder(np.array([0, 1, 0, 0, 1, 0, 0, 1, 0, 0]), 4, seed=1)
        for epoch in range(5):
            positions = order.epoch(epoch)
            assert positions.shape == (order.steps, 4) == (3, 4)
            assert set(positions.ravel().tolist()) == set(range(10))
        assert not np.array_equal(order.epoch(0), order.epoch(1))
        assert np.array_equal(order.epoch(1), EpochOrder(order.groups, 4, seed=1).epoch(1))
        assert not np.array_equal(order.epoch(1), EpochOrder(order.groups, 4, seed=2).epoch(1))

    def test_exact_division_has_no_duplicates(self) -> None:
        assert sorted(EpochOrder(np.zeros(12, int), 4, 0).epoch(3).ravel().tolist()) == list(range(12))

    def test_groups_stay_apart_but_for_the_rest(self) -> None:
        groups = np.arange(103) % 3 == 0
        order = EpochOrder(groups.astype(int), 8, 0)
        mixed = [len(set(groups[step].tolist())) > 1 for step in order.epoch(0)]
        assert sum(mixed) <= 2 and len(mixed) == 13
        places = {int(np.argmax([len(set(groups[s].tolist())) > 1 for s in order.epoch(e)])) for e in range(20)}
        assert len(places) > 4  # the mixed ones do not always come last

    def test_fewer_images_than_a_step(self) -> None:
        positions = EpochOrder(np.zeros(3, int), 8, 0).epoch(0)
        assert positions.shape == (1, 8) and sorted(np.bincount(positions[0]).tolist()) == [2, 3, 3]

    def test_keys_start_anywhere(self) -> None:
        order = EpochOrder(np.zeros(10, int), 4, 0)
        whole = list(islice(order.keys(0), 9))
        assert [key[0][0] for key in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        for start in range(9):
            assert list(islice(order.keys(start), 9 - start)) == whole[start:]

    def test_order_is_fair(self) -> None:
        first = [EpochOrder(np.zeros(10, int), 1, 0).epoch(e)[0, 0] for e in range(300)]
        assert np.bincount(first, minlength=10).min() > 10


class TestTrainLoader:
    def test_steps_and_epochs(self, many) -> None:
        found = loader(many(SHAPES), batch_size=2)
        assert found.steps_per_epoch == 5
        seen = ids(islice(found.batches(), 10))
        for epoch in (seen[:5], seen[5:]):
            assert {i for batch in epoch for i in batch} == set(range(100, 109))

    def test_two_ranks_see_the_images_of_one(self, many) -> None:
        index = many(SHAPES)
        one = ids(islice(loader(index, batch_size=4).batches(), 6))
        ranks = [ids(islice(loader(index, batch_size=2, rank=r, world=2).batches(), 6)) for r in (0, 1)]
        assert [a + b for a, b in zip(*ranks, strict=True)] == one
        two = ids(islice(loader(index, batch_size=2, accumulate=2).batches(), 12))
        assert [two[k] + two[k + 1] for k in range(0, 12, 2)] == one
        assert loader(index, batch_size=2, accumulate=2).steps_per_epoch == 3

    def test_pixels_do_not_depend_on_the_number_of_ranks(self, many) -> None:
        index = many([(40, 60)] * 6)
        one = next(loader(index, batch_size=4).batches())
        two = next(loader(index, batch_size=2, rank=1, world=2).batches())
        assert torch.equal(one[0].seeds[2:], two[0].seeds)
        for row, size in enumerate(two[0].sizes.tolist()):
            h, w = size
            assert torch.equal(one[0].pixels[row + 2, :, :h, :w], two[0].pixels[row, :, :h, :w])

    def test_resume_anywhere_reads_nothing_before(self, many, monkeypatch) -> None:
        index = many(SHAPES)
        whole = list(islice(loader(index).batches(), 12))
        read = []
        monkeypatch.setattr(
            DetectionDataset,
            "read",
            lambda self, i, seed, old=DetectionDataset.read: read.append(i) or old(self, i, seed),
        )
        for start in (1, 5, 7):
            read.clear()
            rest = list(islice(loader(index).batches(start), 12 - start))
            assert_equal(flat(rest), flat(whole[start:]))
            assert len(read) == 2 * (12 - start)

    @pytest.mark.parametrize("augmented", [False, True])
    def test_workers_change_nothing(self, many, augmented: bool) -> None:
        index = many(SHAPES)
        spec = [{"name": "Affine", "rotate": [-9, 9], "p": 0.7}, {"name": "RandomBrightnessContrast", "p": 0.5}]
        augment = Augment(spec) if augmented else RandomFlip()
        alone = flat(islice(loader(index, augment=augment).batches(3), 8))
        assert_equal(alone, flat(islice(loader(index, augment=augment, workers=2).batches(3), 8)))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_global_generators_are_left_alone(self, many, workers: int) -> None:
        index = many(SHAPES)
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        expected = (
            torch.rand(3, generator=torch.Generator().manual_seed(1)),
            np.random.RandomState(1).rand(),
            random.Random(1).random(),
        )
        list(islice(loader(index, workers=workers).batches(), 3))
        assert torch.equal(torch.rand(3), expected[0]) and (np.random.rand(), random.random()) == expected[1:]

    def test_global_seeds_change_nothing(self, many) -> None:
        index = many(SHAPES)
        torch.manual_seed(1)
        first = flat(islice(loader(index).batches(), 6))
        torch.manual_seed(2)
        np.random.seed(3)
        assert_equal(first, flat(islice(loader(index).batches(), 6)))

    def test_aspect_groups_save_padding(self, many) -> None:
        index = many([(30, 60), (60, 30)] * 8)
        dataset = DetectionDataset(index, None, None, 0)
        apart = list(islice(TrainLoader(dataset, 4, 0).batches(), 4))
        assert {tuple(b.pixels.shape[2:]) for b, _ in apart} == {(32, 64), (64, 32)}
        together = list(islice(TrainLoader(dataset, 4, 0, group_by_aspect=False).batches(), 4))
        assert (64, 64) in {tuple(b.pixels.shape[2:]) for b, _ in together}

    def test_fixed_canvas(self, many) -> None:
        shapes = {tuple(b.pixels.shape[2:]) for b, _ in islice(loader(many(SHAPES), canvas=(64, 64)).batches(), 5)}
        assert shapes == {(64, 64)}

    def test_empty_training_set(self) -> None:
        with pytest.raises(DataError, match="nothing: the training set is empty"):
            TrainLoader(DetectionDataset(IndexBuilder(["a"], "nothing").build(), None, None, 0), 2, 0)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_truncated_picture_is_one_sentence(self, many, workers: int) -> None:
        index = many(SHAPES)
        with open(index.path(4), "r+b") as file:
            file.truncate(os.path.getsize(index.path(4)) // 2)
        with pytest.raises(DataError, match=r"^image .*4\.jpg cannot be read: [^\n]*$"):
            list(islice(loader(index, workers=workers).batches(), 5))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_failing_augmentation_names_the_picture(self, many, workers: int) -> None:
        index = many(SHAPES)
        with pytest.raises(DataError, match=r"^image .*\.jpg cannot be prepared: _Unpicklable: no way$"):
            next(loader(index, augment=_fail, workers=workers).batches())

    def test_workers_stop_with_their_iterator(self, many) -> None:
        import multiprocessing

        before = set(multiprocessing.active_children())
        batches = loader(many(SHAPES), workers=2).batches()
        next(batches)
        assert len(set(multiprocessing.active_children()) - before) == 2
        batches.close()
        assert not set(multiprocessing.active_children()) - before


class _Unpicklable(Exception):
    def __init__(self, text: str, other: int) -> None:
        super().__init__(text)
        self.hold = lambda: other


def _fail(sample):
    raise _Unpicklable("no way", 3)


class TestTestBatches:
    def test_each_image_once_in_batches_of_one_canvas(self, many) -> None:
        index, resize = many(SHAPES), TestResize(20, 60)
        seen = []
        for positions, batch, originals in batches_for_test(index, resize, 2):
            assert 1 <= len(positions) <= 2 and originals == [index.size(i) for i in positions]
            assert {resize.canvas(size) for size in originals} == {tuple(batch.pixels.shape[2:])}
            assert batch.ids.tolist() == [index.image_id(i) for i in positions]
            assert batch.sizes.tolist() == [list(resize.shape(size)) for size in originals]
            seen += positions
        assert sorted(seen) == list(range(9))

    def test_pixels_are_those_of_a_single_image(self, many) -> None:
        from visionkit.data.image import read_image

        index, resize = many(SHAPES), TestResize(20, 60)
        for positions, batch, _ in batches_for_test(index, resize, 4):
            for row, i in enumerate(positions):
                expected = resize(read_image(index.path(i)))
                h, w = expected.shape[:2]
                assert np.array_equal(batch.pixels[row, :, :h, :w].permute(1, 2, 0).numpy(), expected)

    @pytest.mark.parametrize("world", [2, 3, 20])
    def test_ranks_share_without_duplicates(self, many, world: int) -> None:
        index, resize = many(SHAPES), TestResize(20, 60)
        seen = [
            i for r in range(world) for p, _, _ in batches_for_test(index, resize, 1, rank=r, world=world) for i in p
        ]
        assert sorted(seen) == list(range(9))

    def test_workers_change_nothing(self, many) -> None:
        index, resize = many(SHAPES), TestResize(20, 60)
        alone, helped = (list(batches_for_test(index, resize, 2, workers=w)) for w in (0, 2))
        assert [a[0] for a in alone] == [b[0] for b in helped]
        assert all(torch.equal(a[1].pixels, b[1].pixels) for a, b in zip(alone, helped, strict=True))

    def test_no_images(self) -> None:
        assert list(batches_for_test(IndexBuilder(["a"], "none").build(), TestResize(20, 60), 2)) == []

    @pytest.mark.parametrize("workers", [0, 2])
    def test_missing_picture(self, many, workers: int) -> None:
        index = many(SHAPES)
        os.unlink(index.path(8))
        with pytest.raises(DataError, match=r"^image .*8\.jpg does not exist\.$"):
            list(batches_for_test(index, TestResize(20, 60), 2, workers=workers))


class TestWorkers:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_in_order(self, workers: int) -> None:
        assert list(run_workers(_square, range(20), workers)) == [i * i for i in range(20)]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_nothing_to_do(self, workers: int) -> None:
        assert list(run_workers(_square, [], workers)) == []

    def test_a_bug_keeps_its_trace(self) -> None:
        with pytest.raises(RuntimeError, match="TypeError") as caught:
            list(run_workers(_square, ["x"], 2))
        assert any("_square" in note for note in caught.value.__notes__)

    def test_one_thread_a_worker(self) -> None:
        torch.set_num_threads(2)
        assert set(run_workers(_threads, range(4), 2)) == {1}


def _square(number):
    return number * number


def _threads(_):
    return torch.get_num_threads()

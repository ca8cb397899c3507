"""Orders against the batches of MMEngine's own dataloader with MMEngine's and MMDetection's own samplers.

Where these shuffle, they are given our permutations in place of torch's; then batch for batch is the same. So is the
group that GroupMultiSourceSampler draws.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import mmdet.datasets.samplers
import numpy as np
import pytest
import torch
from mmengine.dataset.sampler import DefaultSampler
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from data_server.handover.facts import DatasetFacts
from data_server.serving.orders import class_aware
from data_server.serving.orders.choice import order_of
from data_server.serving.orders.cycle import Cycle
from shared.samplers import sampling

SEED = 11
CASES = [(7, 3), (12, 4), (5, 8), (1, 3), (23, 2)]  # images, images in a batch


class Images:
    """A data set of images with widths and classes: what samplers ask for."""

    def __init__(self, wide, classes=(), number_of_classes=0):
        self.wide, self.of = wide, classes
        self.metainfo = {"classes": tuple(map(str, range(number_of_classes)))}

    def __len__(self):
        return len(self.wide)

    def get_data_info(self, index):
        return {"width": 2, "height": 1} if self.wide[index] else {"width": 1, "height": 2}

    def get_cat_ids(self, index):
        return self.of[index]


class Several(Images):
    """As a ConcatDataset."""

    def __init__(self, datasets):
        super().__init__(np.concatenate([one.wide for one in datasets]))
        self.datasets = datasets
        self.get_dataset_source = lambda index: int(np.searchsorted(self.cumulative_sizes, index, side="right"))
        self.cumulative_sizes = np.cumsum([len(one) for one in datasets]).tolist()


def theirs(dataset, batch_size, sampler, **rest):
    """The batches of an epoch, or without end."""
    DefaultScope.get_instance("test", scope_name="mmdet")
    config = {"dataset": dataset, "batch_size": batch_size, "sampler": sampler, "num_workers": 0, **rest}
    return Runner.build_dataloader(config, seed=SEED).batch_sampler


def ours(dataset, batch_size, sampler, **rest):
    if rest.get("batch_sampler"):
        kind = rest["batch_sampler"]["type"]
        rest["batch_sampler"] = {**rest["batch_sampler"], "type": kind if isinstance(kind, str) else kind.__name__}
    dataloader = {"batch_size": batch_size, "sampler": sampler, **rest}
    parts = getattr(dataset, "datasets", [dataset])
    config = {"dataset": {"type": "ConcatDataset", "datasets": [{"type": "CocoDataset"}] * len(parts)}}
    facts = DatasetFacts(dataset.wide, 1, 0, 64, 64, "", [len(part) for part in parts], [], by_class(dataset))
    return order_of({**config, "batch_size": batch_size, **sampling(dataloader, "train")}, facts, SEED)


def by_class(dataset):
    pairs = [(label, index) for index, labels in enumerate(dataset.of) for label in set(labels)]
    return [
        np.array([at for label, at in pairs if label == of], np.int64) for of in range(len(dataset.metainfo["classes"]))
    ]


def images(count, seed=0):
    return Images(np.random.default_rng(seed).integers(0, 2, count).astype(np.uint8))


def first(order, count):
    """So many batches from epoch 0 on, as lists."""
    epochs = range(-(-count // order.batches_per_epoch))
    return [row for epoch in epochs for row in order.batches(epoch)[0].tolist()][:count]


@pytest.fixture
def permutations(monkeypatch):
    """Replaces torch's shuffling by ours: a list of what to answer next, by how many things there are."""
    answers = defaultdict(list)

    def answer(count, generator=None):
        assert generator is not None
        return torch.as_tensor(np.array(answers[count].pop(0)))

    monkeypatch.setattr(torch, "randperm", answer)
    return answers


BATCH_SAMPLERS = [
    None,
    {"type": "AspectRatioBatchSampler"},
    {"type": torch.utils.data.BatchSampler, "drop_last": False},  # as a Python-style config names it
]


@pytest.mark.parametrize(("count", "batch_size"), CASES)
@pytest.mark.parametrize("batch_sampler", BATCH_SAMPLERS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_without_end_are_mmengines(count, batch_size, batch_sampler, shuffle, permutations):
    sampler, dataset = {"type": "InfiniteSampler", "shuffle": shuffle}, images(count)
    cycle = Cycle(np.arange(count), (SEED,))
    permutations[count] = [cycle.once(number) for number in range(400)]
    expected = list(itertools.islice(theirs(dataset, batch_size, sampler, batch_sampler=batch_sampler), 100))
    order = ours(dataset, batch_size, sampler, batch_sampler=batch_sampler)
    assert first(order, 100) == expected
    assert order.batches_per_epoch == -(-count // batch_size)
    assert order.batches(7)[0].tolist() == first(order, 8 * order.batches_per_epoch)[7 * order.batches_per_epoch :]


def test_a_part_of_the_data_is_its_first_images_with_either_sampler():
    dataset = images(23)
    for kind in ("DefaultSampler", "InfiniteSampler"):
        sampler = {"type": kind, "shuffle": False}
        for batch_sampler in (None, BATCH_SAMPLERS[1]):
            rest = {"num_batch_per_epoch": 3, "batch_sampler": batch_sampler}
            order = ours(dataset, 4, sampler, **rest)
            batches = list(itertools.islice(theirs(dataset, 4, sampler, **rest), 3))
            assert order.batches_per_epoch == 3 and {*itertools.chain(*batches)} <= set(range(12))
            if batch_sampler is None or kind == "InfiniteSampler":
                assert first(order, 3) == batches
            else:  # they mix what the groups leave over
                assert {*itertools.chain(*first(order, 3))} <= set(range(12))


@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (12, 4), (23, 2)])
def test_what_does_not_fill_a_batch_is_left_out(count, batch_size):
    dataset, sampler = images(count), {"type": "DefaultSampler", "shuffle": True}
    expected = theirs(dataset, batch_size, sampler, drop_last=True)
    order = ours(dataset, batch_size, sampler, drop_last=True)
    drawn = [Counter(itertools.chain(*batches)) for batches in (list(expected), first(order, order.batches_per_epoch))]
    assert order.batches_per_epoch == len(expected) and len(drawn[0]) == len(drawn[1])
    assert {*drawn[0].values(), *drawn[1].values()} == {1}
    grouped = {"type": "AspectRatioBatchSampler", "drop_last": True}
    left = ours(dataset, batch_size, sampler, batch_sampler=grouped)
    # theirs may make one batch of what both groups leave over
    assert left.batches_per_epoch in (count // batch_size, count // batch_size - 1)
    assert all(len({int(dataset.wide[index]) for index in row}) == 1 for row in first(left, left.batches_per_epoch))


def test_in_one_process_an_epoch_is_as_long_rounded_up_as_not():
    assert [*DefaultSampler(images(7), seed=1)] == [*DefaultSampler(images(7), seed=1, round_up=False)]


@pytest.mark.parametrize("drop_last", [{}, {"drop_last": False}])
def test_batches_of_one_data_set_and_one_shape_are_mmdetections(drop_last, permutations):
    dataset, sampler = several(9, 24, 5), {"type": "InfiniteSampler"}
    batch_sampler = {
        "type": "MultiDataAspectRatioBatchSampler",
        "num_datasets": 3,
        "batch_size": [4, 4, 4],
        **drop_last,
    }
    cycle = Cycle(np.arange(38), (SEED,))
    permutations[38] = [cycle.once(number) for number in range(100)]
    expected = list(itertools.islice(theirs(dataset, 4, sampler, batch_sampler=batch_sampler), 60))
    assert first(ours(dataset, 4, sampler, batch_sampler=batch_sampler), 60) == expected
    # of an epoch, those that are full are theirs, but for those in which they mix shapes
    sampler = {"type": "DefaultSampler", "shuffle": False}
    full, all_of = (
        [row for row in theirs(dataset, 4, sampler, batch_sampler=batch_sampler) if whole(row, dataset)],
        [],
    )
    order = ours(dataset, 4, sampler, batch_sampler=batch_sampler)
    for row, valid in zip(*order.batches(0), strict=True):
        assert whole(row, dataset) and (valid == 4 or drop_last)
        all_of.append(row[:valid].tolist())
    assert sorted(row for row in all_of if len(row) == 4) == sorted(full)
    assert drop_last == {} or sorted(itertools.chain(*all_of)) == list(range(38))


def whole(row, dataset):
    """Whether it is a full batch of one data set and one shape."""
    return len(row) == 4 and len({(dataset.get_dataset_source(index), int(dataset.wide[index])) for index in row}) == 1


def annotated(count, classes, seed=3):
    """Few images of a high class, some of none; one class is in no image."""
    random = np.random.default_rng(seed)
    labels = [
        [int(one) for one in random.integers(0, classes, random.integers(0, 4)) ** 2 // classes] for _ in range(count)
    ]
    return Images(images(count).wide, labels, classes + 1)


@pytest.mark.parametrize("in_a_row", [1, 2, 3, 50])
def test_every_image_drawn_class_by_class_is_mmdetections(in_a_row, monkeypatch):
    dataset = annotated(40, 6)
    sampler = {"type": "ClassAwareSampler", "num_sample_class": in_a_row}
    order = ours(dataset, 4, sampler)
    lists = []
    made = class_aware.shuffled

    def noted(random, things, times):
        found = made(random, things, times)
        lists.append([np.searchsorted(things, one) for one in found.reshape(times, -1)])
        return found

    monkeypatch.setattr(class_aware, "shuffled", noted)

    class Numbered:
        """In place of torch's generator, which all lists of MMDetection's share: each gets a number, classes first."""

        numbers = itertools.count()

    real = mmdet.datasets.samplers.class_aware_sampler.RandomCycleIter
    monkeypatch.setattr(
        mmdet.datasets.samplers.class_aware_sampler,
        "RandomCycleIter",
        lambda data, **_: real(data, generator=next(Numbered.numbers)),
    )
    monkeypatch.setattr(torch, "randperm", lambda _, generator: torch.as_tensor(lists[generator].pop(0)))
    drawn = theirs(dataset, 4, sampler).sampler
    for epoch in range(3):
        lists.clear()
        Numbered.numbers = itertools.count()
        expected = order._drawn(np.random.default_rng([SEED, epoch])).tolist()
        drawn.set_epoch(epoch)
        assert [int(index) for index in drawn] == expected


def test_epochs_of_class_aware_sampling_have_as_many_batches_as_mmdetections_and_mix_no_shapes():
    dataset, sampler = annotated(41, 6), {"type": "ClassAwareSampler"}
    for drop_last in (False, True):
        rest = {"batch_sampler": {"type": "AspectRatioBatchSampler", "drop_last": drop_last}}
        order, expected = ours(dataset, 4, sampler, **rest), theirs(dataset, 4, sampler, **rest)
        assert order.batches_per_epoch == len(expected)
        for epoch in range(20):
            rows, valid = order.batches(epoch)
            assert rows.shape == (order.batches_per_epoch, 4) and (valid == 4).all()
            assert (np.ptp(dataset.wide[rows], axis=1) == 0).all()


def test_all_classes_come_equally_often_however_rare():
    dataset = annotated(400, 6)
    order, alone = ours(dataset, 4, {"type": "ClassAwareSampler"}), by_class(dataset)
    for epoch in range(3):
        drawn = Counter(order.batches(epoch)[0].reshape(-1).tolist())
        of_rarest = min(alone, key=lambda found: len(found) or 999)
        assert sum(drawn[int(index)] for index in of_rarest) >= 400 // len([one for one in alone if len(one)])


def several(*sizes):
    return Several([images(size, seed) for seed, size in enumerate(sizes)])


@pytest.mark.parametrize("sizes", [(5, 17), (3, 4, 9)])
@pytest.mark.parametrize(("draw", "batch_size"), [(5, 5), (5, 2), (6, 4), (8, 16)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_draws_from_several_data_sets_are_mmdetections(sizes, draw, batch_size, shuffle, permutations):
    dataset = several(*sizes)
    ratio = [1, 4] if len(sizes) == 2 else [1, 1, 2]
    sampler = {"type": "MultiSourceSampler", "batch_size": draw, "source_ratio": ratio, "shuffle": shuffle}
    order = ours(dataset, batch_size, sampler)
    for source, size in enumerate(sizes):
        permutations[size] = [Cycle(np.arange(size), (SEED, 0, source)).once(number) for number in range(400)]
    expected = list(itertools.islice(theirs(dataset, batch_size, sampler), 60))
    assert first(order, 60) == expected


@pytest.mark.parametrize(("draw", "batch_size"), [(5, 5), (6, 3), (6, 4)])
def test_draws_of_one_shape_are_mmdetections(draw, batch_size, permutations, monkeypatch):
    dataset = several(9, 24)
    sampler = {"type": "GroupMultiSourceSampler", "batch_size": draw, "source_ratio": [1, 4]}
    order = ours(dataset, batch_size, sampler)
    starts, found = [0, 9], set()
    for number, wide in enumerate((1, 0)):
        for source, part in enumerate(dataset.datasets):
            of = np.flatnonzero(part.wide == wide) + starts[source]
            cycle = Cycle(of, (SEED, number, source))
            assert len(of) not in found  # that tells them apart
            found.add(len(of))
            permutations[len(of)] = [np.searchsorted(of, cycle.once(time)) for time in range(200)]
    # to MMDetection, group 0 is the high images
    groups = iter(1 - order._groups(200))
    monkeypatch.setattr(np.random, "choice", lambda choices, p: check(choices, p, dataset) or next(groups))
    expected = list(itertools.islice(theirs(dataset, batch_size, sampler), 60))
    assert first(order, 60) == expected
    rows = np.array(first(order, 60))
    assert (np.ptp(dataset.wide[rows], axis=1) == 0).all() == (draw % batch_size == 0)
    share = dataset.wide[np.array(first(order, 4000))].mean()
    assert abs(share - dataset.wide.mean()) < 0.04


def check(choices, odds, dataset):
    assert choices == [0, 1] and np.isclose(odds[1], dataset.wide.mean())


@pytest.mark.parametrize("settings", [{"dataset_size": [-1, 6]}, {"dataset_size": [0.5, 0.3], "ratio_mode": True}])
def test_images_of_each_data_set_in_an_epoch_are_mmdetections(settings, permutations):
    dataset, sampler = several(9, 24), {"type": "CustomSampleSizeSampler", **settings}
    order = ours(dataset, 3, sampler)
    starts = [0, 9]
    for source, part in enumerate(dataset.datasets):
        cycle = Cycle(np.arange(starts[source], starts[source] + len(part)), (SEED, source))
        permutations[len(part)] = [cycle.once(number) - starts[source] for number in range(50)]
    length = {9 + 6: 15, 4 + 7: 11}
    for count in length:
        permutations[count] = [np.arange(count)] * 50
    drawn = theirs(dataset, 3, sampler)
    assert order.batches_per_epoch == len(drawn)
    for epoch in range(12):
        drawn.sampler.set_epoch(epoch)
        expected = Counter(map(int, drawn.sampler))
        batches = order.batches(epoch)[0]
        found = Counter(batches.reshape(-1).tolist())
        repeated = found - expected
        assert found - repeated == expected and sum(repeated.values()) == batches.size - sum(expected.values())

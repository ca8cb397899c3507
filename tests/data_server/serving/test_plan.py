import queue
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_server.handover.facts import DatasetFacts
from data_server.machine.memory import MemoryPlan
from data_server.serving.batches import Batches
from data_server.serving.ledger import Ledger
from data_server.serving.plan import Plan, sample_seed
from shared.errors import UserError
from shared.messages import Welcome
from shared.samplers import sampling

WIDE = np.array([1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 1], np.uint8)


def plan(wide=WIDE, *, seed=5, rank=0, world_size=1, made=lambda: None, sizes=None, **changes):
    """The plan of a data set with these images, and of a data part with these `changes`."""
    facts = DatasetFacts(wide, 1, 0, 64, 64, "", sizes or [len(wide)], [])
    return Plan.of(data_part_of(**changes), facts, seed, rank, world_size, made)


def data_part_of(**changes):
    part = {"batch_size": 2, **sampling({"batch_size": 2}, "train"), "group_by_aspect_ratio": True}
    assert changes.keys() <= part.keys()
    return part | changes


def epoch_of(one, number=0):
    steps = one.steps_per_epoch
    return [one.batch(number * steps + step) for step in range(steps)]


PLANS = st.fixed_dictionaries(
    {
        "wide": st.lists(st.integers(0, 1), min_size=1, max_size=30).map(lambda bits: np.array(bits, np.uint8)),
        "batch_size": st.integers(1, 5),
        "shuffle": st.booleans(),
        "group_by_aspect_ratio": st.booleans(),
        "seed": st.integers(0, 2**64 - 1),
    }
)


@given(PLANS, st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_every_image_is_in_every_epoch(arguments, number):
    batches = epoch_of(plan(**arguments), number)
    assert {index for batch in batches for index in batch.indices} == set(range(len(arguments["wide"])))
    assert {batch.epoch for batch in batches} == {number}


@given(PLANS)
@settings(max_examples=80, deadline=None)
def test_no_batch_mixes_wide_and_high_images(arguments):
    arguments["group_by_aspect_ratio"] = True
    for batch in epoch_of(plan(**arguments)):
        assert len({int(arguments["wide"][index]) for index in batch.indices}) == 1


@given(PLANS, st.integers(1, 4), st.integers(0, 40))
@settings(max_examples=80, deadline=None)
def test_the_ranks_take_turns_at_what_one_rank_would_have_wherever_they_begin(arguments, world_size, start):
    whole = plan(**arguments)
    cursor = divmod(start, whole.steps_per_epoch)
    number = 2 * world_size + 1
    dealt = {}
    for rank in range(world_size):
        one = plan(**arguments, rank=rank, world_size=world_size)
        assert one.steps_per_epoch == whole.steps_per_epoch
        first = one.cursor(*cursor)
        dealt |= {step * world_size + rank: one.batch(step) for step in range(first, first + 3)}
    assert min(dealt) == start
    assert [dealt[start + i] for i in range(number)] == [whole.batch(start + i) for i in range(number)]


@given(PLANS)
@settings(max_examples=80, deadline=None)
def test_without_shuffling_every_image_counts_once_and_in_order(arguments):
    arguments |= {"shuffle": False, "group_by_aspect_ratio": False}
    counted = [index for batch in epoch_of(plan(**arguments)) for index in batch.indices[: batch.valid]]
    assert counted == list(range(len(arguments["wide"])))


def test_a_batch_depends_on_its_step_alone():
    forwards, backwards = plan(), plan()
    steps = range(3 * forwards.steps_per_epoch)
    assert {step: forwards.batch(step) for step in steps} == {step: backwards.batch(step) for step in reversed(steps)}


def test_another_epoch_or_another_seed_is_another_order():
    orders = [[batch.indices for batch in epoch_of(plan(seed=seed), number)] for seed in (5, 6) for number in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_all_samples_of_some_epochs_have_seeds_of_their_own():
    seeds = [seed for number in range(3) for batch in epoch_of(plan(), number) for seed in batch.seeds]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_samples_seed_is_the_same_on_every_machine():
    assert [sample_seed(*of) for of in ((0, 0, 0), (5, 2, 2**40))] == [9617123944752223253, 5852428486523909056]


SIZES, TWO = [11, 22], np.concatenate([WIDE, 1 - WIDE, WIDE])


def parts_of(one, epoch):
    return [int(index >= SIZES[0]) for batch in epoch_of(one, epoch) for index in batch.indices]


def test_a_ratio_gives_each_data_set_its_share_of_an_epoch_that_stays_as_long():
    plain = plan(wide=TWO, batch_size=1)
    mixed = plan(wide=TWO, batch_size=1, sizes=SIZES, source_ratio=[2, 1])
    assert plain.steps_per_epoch == mixed.steps_per_epoch == 33
    for epoch in range(3):
        assert parts_of(mixed, epoch).count(0) == 22  # each of its images twice
        indices = [batch.indices[0] for batch in epoch_of(mixed, epoch)]
        assert all(indices.count(index) == 2 for index in range(SIZES[0]))
        assert len({index for index in indices if index >= SIZES[0]}) == 11  # half of its images, each once
    assert {index for epoch in range(20) for batch in epoch_of(mixed, epoch) for index in batch.indices} == set(
        range(33)
    )
    without = plan(wide=TWO, batch_size=1, sizes=SIZES, source_ratio=[0, 1])
    assert set(parts_of(without, 0)) == {1}


@given(st.lists(st.integers(0, 4), min_size=2, max_size=2).filter(any), st.integers(1, 4), st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_with_a_ratio_every_epoch_has_its_steps_and_a_batch_depends_on_nothing_else(ratio, batch_size, seed):
    arguments = {"wide": TWO, "batch_size": batch_size, "seed": seed, "sizes": SIZES, "source_ratio": ratio}
    one, other = plan(**arguments), plan(**arguments)
    for epoch in (3, 0):
        batches = epoch_of(one, epoch)
        assert {batch.epoch for batch in batches} == {epoch}
        assert all(len({int(TWO[index]) for index in batch.indices}) == 1 for batch in batches)
        drawn = {index for batch in batches for index in batch.indices}
        assert all(
            share or not drawn & set(images) for share, images in zip(ratio, (range(11), range(11, 33)), strict=True)
        )
    steps = range(one.steps_per_epoch * 4 - 1, -1, -3)
    assert [one.batch(step) for step in steps] == [other.batch(step) for step in sorted(steps)][::-1]


@pytest.mark.parametrize(
    "changes", [{"source_ratio": [1]}, {"source_ratio": [1, -1]}, {"source_ratio": [0, 0]}, {"shuffle": False}]
)
def test_a_ratio_that_makes_no_sense_is_refused(changes):
    with pytest.raises(UserError, match=r"sampler.source_ratio"):
        plan(**{"wide": TWO, "sizes": SIZES, "source_ratio": [1, 1], **changes})


def test_an_epochs_order_is_made_by_another_thread_which_says_when_it_is_there():
    made, makers = queue.Queue(), []
    one = plan(made=lambda: made.put(None))
    make, one._make_batches = one._make_batches, lambda epoch: makers.append(threading.current_thread()) or make(epoch)
    for epoch in (0, 7):  # at the beginning, and where a training is resumed
        step = epoch * one.steps_per_epoch + 2
        one.ready(step)
        made.get(timeout=120)
        assert makers.pop() is not threading.current_thread() and not makers
        assert one.ready(step) and one.batch(step) == plan().batch(step)
        assert made.empty()


def batches_of(one, end=None):
    """All batches of a plan that is given to one idle worker after the other."""
    welcome = Welcome([], len(WIDE), "", one.steps_per_epoch, 1000, 64, "")
    batches = Batches(one, Ledger(1000, 0, end, 1), welcome, MemoryPlan(1000, 64), -1)
    for worker in range(1000):
        batches.worker_idle(worker)
    return batches


def test_nothing_is_handed_out_before_it_is_planned():
    made, may_be_made = threading.Event(), threading.Event()
    one = plan(made=made.set)
    make, one._make_batches = one._make_batches, lambda epoch: may_be_made.wait(120) and make(epoch)
    batches = batches_of(one)
    assert batches.assign() is None
    may_be_made.set()
    assert made.wait(120)
    worker, order = batches.assign()
    assert (worker, order.step, [index for index, _ in order.samples]) == (0, 0, list(plan().batch(0).indices))


def test_the_next_epoch_is_planned_from_the_middle_of_this_one_on_unless_it_is_the_last():
    for end, epochs in ((None, 2), (plan().steps_per_epoch, 1)):
        made = queue.Queue()
        one = plan(made=lambda made=made: made.put("made"))
        half = one.steps_per_epoch // 2
        batches = batches_of(one, end)
        batches.assign()
        assert made.get(timeout=120)
        for _ in range(half):
            assert made.empty()
            assert batches.assign()
        batches.assign()
        for _ in range(epochs - 1):
            assert made.get(timeout=120)
        one.batch(0)
        assert made.empty()

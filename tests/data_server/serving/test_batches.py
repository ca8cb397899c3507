"""The batches of a stream: what workers are given, what becomes of it, what the trainer gets."""

import os

import numpy as np
import pytest

from data_server.handover.facts import DatasetFacts
from data_server.serving import batches as module
from data_server.serving.batches import Batches
from data_server.serving.blame import Death
from data_server.serving.ledger import Ledger, SlotState
from shared.arena import Arena
from shared.errors import UserError
from shared.feed_keys import with_defaults
from shared.messages import Facts, Hello, Wrote
from shared.samplers import sampling

IMAGES, WORKERS = 10, 2
CONFIG = {"batch_size": 2, **sampling({"batch_size": 2}, "val"), "size_divisor": 1}
CRASH = Death(signal=11)


def opened(credits=2, epochs=1, epoch=0, step=0, make_room=lambda: False, far=(0, 0), **feed):
    config = {**CONFIG, "feed": with_defaults(feed)}
    hello = Hello("val", config, seed=0, rank=0, world_size=1, epoch=epoch, step=step, epochs=epochs, credits=credits)
    dataset = DatasetFacts(np.ones(IMAGES, np.uint8), 3, 0, 8, 8, "2-a", [IMAGES], [["a"]])
    facts = Facts([["a"]], IMAGES, [IMAGES], "2-a", 3, 0, 8, 8, nursery_bytes=1 << 20, worker_bytes=1 << 20)
    return Batches.of(hello, facts, dataset, WORKERS, make_room, lambda: None, far)


@pytest.fixture
def stream():
    made = opened()
    while not made._is_planned(0):
        pass
    for worker in range(WORKERS):
        made.worker_idle(worker)
    yield made
    os.close(made.memory)


def wrote(order, digest=7):
    return Wrote(order.step, order.slot, order.generation, b"layout", digest, [], 0, 0)


def take_in_hand(stream, order, place, image="a.jpg"):
    welcome = stream.welcome
    arena = Arena(os.dup(stream.memory), welcome.slots, welcome.slot_bytes, writable=True)
    arena.take_in_hand(order.slot, place, image)


def test_there_are_slots_for_all_workers_and_all_credits_and_one_more(stream):
    assert (stream.welcome.slots, stream.welcome.steps_per_epoch, stream.welcome.images) == (WORKERS + 2 + 1, 5, IMAGES)
    more = opened(slots=9)
    assert more.welcome.slots == 9
    os.close(more.memory)


def test_there_are_slots_for_workers_on_other_hosts_that_may_come_unless_the_config_says_how_many_there_are():
    for wished, slots in ((None, WORKERS + 2 + 1 + 7), (9, 9)):
        later = opened(far=(0, 7), slots=wished)
        assert later.welcome.slots == len(later.ledger.slots) == slots and later.memory_plan.far == 7
        os.close(later.memory)


def test_slots_for_fewer_batches_than_the_trainer_may_hold_are_refused():
    with pytest.raises(UserError, match=r"config key 'feed.slots' is 2; expected feed.credits=3 or more"):
        opened(credits=3, slots=2)
    os.close(opened(credits=3, slots=3).memory)


def test_idle_workers_get_the_next_steps_in_turn_and_no_more_than_there_are_workers(stream):
    assert stream.idle == 2
    first, second = stream.assign(), stream.assign()
    assert [worker for worker, _ in (first, second)] == [0, 1] and stream.idle == 0
    assert [[index for index, _ in order.samples] for _, order in (first, second)] == [[0, 1], [2, 3]]
    assert (first[1].step, second[1].step, first[1].suspect) == (0, 1, 0)
    assert stream.assign() is None


def test_batches_are_leased_in_step_order_and_only_as_many_as_there_are_credits(stream):
    orders = [stream.assign()[1] for _ in range(2)]
    assert stream.lease() is None
    assert stream.wrote(1, wrote(orders[1])) and stream.lease() is None
    assert stream.wrote(0, wrote(orders[0], digest=5))
    found = [stream.lease() for _ in range(3)]
    assert [(one.epoch, one.step, one.slot, one.digest, one.valid) for one in found[:2]] == [
        (0, 0, orders[0].slot, 5, 2),
        (0, 1, orders[1].slot, 7, 2),
    ]
    assert found[2] is None


def test_a_trainer_that_takes_over_gets_what_lies_after_the_checkpoint(stream):
    orders = [stream.assign()[1] for _ in range(2)]
    for worker, order in enumerate(orders):
        stream.wrote(worker, wrote(order))
        stream.lease()
    stream.checkpointed(0, 1)
    assert stream.resume_at == 1
    stream.rewind()
    stream.worker_idle(0)
    assert stream.assign()[1].step == 1


def test_of_what_a_trainer_gives_up_and_of_what_lies_behind_the_checkpoint_nothing_is_kept(stream):
    orders = [stream.assign()[1] for _ in range(2)]
    for worker, order in enumerate(orders):
        stream.wrote(worker, wrote(order))
    stream.lease()
    stream.checkpointed(0, 1)
    stream.rewind()
    assert [*stream._written] == [1] and stream.lease().step == 1
    stream.checkpointed(0, 3)
    stream.rewind()
    assert not stream._written


def test_the_ledger_is_not_asked_for_a_step_without_a_worker_or_slot_nor_for_a_batch_that_is_not_written(
    stream, monkeypatch
):
    """Each answer takes it some looks at all slots."""
    for _ in range(WORKERS):
        stream.assign()
    asked = []
    monkeypatch.setattr(Ledger, "_next_missing", lambda _: asked.append("step"))
    monkeypatch.setattr(Ledger, "lease", lambda _: asked.append("batch"))
    assert stream.assign() is None and stream.lease() is None
    stream.worker_idle(0)
    for slot in stream.ledger.slots:
        slot.state = SlotState.LEASED
    assert stream.assign() is None
    assert not asked


def test_a_stream_begins_where_its_trainer_says():
    made = opened(epoch=1, step=3, epochs=3)
    assert made.resume_at == made.ledger.next_delivery == 8
    os.close(made.memory)


def test_a_batch_that_is_no_longer_wanted_is_not_kept(stream):
    _, order = stream.assign()
    stream.checkpointed(0, 4)
    stream.rewind()
    assert not stream.wrote(0, wrote(order)) and stream.lease() is None


def test_a_sample_that_kills_twice_is_poison_and_named_and_the_next_takes_its_place(stream):
    for attempt in (1, 2):
        worker, order = stream.assign()
        assert order.step == 0 and order.suspect == (0 if attempt == 1 else 2)
        take_in_hand(stream, order, place=2, image="bad.jpg")
        lost = stream.worker_died(worker)
        assert (lost.step, lost.slot) == (0, order.slot)
        poison = stream.blame(lost, CRASH)
        assert (poison is None) == (attempt == 1)
        stream.worker_idle(worker)
    assert (poison.step, poison.place, poison.index, poison.image) == (0, 2, 1, "bad.jpg")
    assert not stream.replace(poison)
    assert [index for index, _ in stream.assign()[1].samples] == [0, 2]


def test_the_death_of_an_idle_worker_loses_no_batch_and_it_gets_none(stream):
    assert stream.worker_died(0) is None and stream.idle == 1
    assert stream.assign()[0] == 1


def test_replacements_end_when_every_image_has_been_tried(stream):
    _, order = stream.assign()
    take_in_hand(stream, order, place=1)
    lost = stream.worker_died(0)
    stream.blame(lost, CRASH)
    poison = stream.blame(lost, CRASH)
    assert [stream.replace(poison) for _ in range(IMAGES)] == [False] * (IMAGES - 1) + [True]


def test_a_batch_kills_too_many_workers_when_it_has_killed_as_many_as_any_may(stream, monkeypatch):
    monkeypatch.setattr(module, "MAX_KILLS", 3)
    _, order = stream.assign()
    lost = stream.worker_died(0)
    told = []
    for _ in range(3):
        stream.blame(lost, Death(signal=9))
        told.append(stream.kills_too_many(order.step))
    assert told == [False, False, True]


def test_a_stream_that_is_wanted_asks_for_room_until_there_is_enough_or_none_can_be_made(monkeypatch):
    asked = []
    real = module.create_memory

    def scarce(slots, slot_bytes):
        if len(asked) < 2:
            raise OSError(28, "No space left on device")
        return real(slots, slot_bytes)

    monkeypatch.setattr(module, "create_memory", scarce)
    made = opened(make_room=lambda: not asked.append("room"))
    assert len(asked) == 2
    os.close(made.memory)
    asked.clear()
    with pytest.raises(UserError, match=r"^too little memory: the plan is 5 slots x .*: No space left on device$"):
        opened(make_room=lambda: False)


@pytest.mark.parametrize(("epochs", "end"), [(1, 5), (3, 15), (0, None)])
def test_a_stream_ends_after_its_epochs_or_never(epochs, end):
    made = opened(epochs=epochs)
    assert made.ledger.end_step == end
    os.close(made.memory)


@pytest.mark.parametrize(("epochs", "planned"), [(2, {0, 1}), (0, {0, 1}), (1, {0})])
def test_an_epoch_is_planned_from_the_middle_of_the_one_before_it_unless_the_stream_ends_there(epochs, planned):
    made = opened(epochs=epochs)
    made._is_planned(2)
    assert set(made._plan._orders) == {0}
    made._is_planned(3)
    assert set(made._plan._orders) == planned
    os.close(made.memory)


def test_the_memory_plan_is_that_of_its_slots_its_data_set_and_its_workers(stream):
    welcome = stream.welcome
    assert stream.memory_plan.total == welcome.slots * welcome.slot_bytes + (1 << 20) + WORKERS * (1 << 20)
    assert welcome.plan == str(stream.memory_plan)

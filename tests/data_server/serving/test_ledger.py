"""Each transition of the ledger by name; any order of them is tried in tests/model."""

from __future__ import annotations

import pytest

from data_server.serving.ledger import Assignment, Handout, Ledger, ProtocolError, Slot, SlotState


def write(ledger: Ledger, worker: int = 0) -> Assignment:
    assignment = ledger.assign(worker)
    assert ledger.wrote(worker, assignment.slot, assignment.generation)
    return assignment


def states(ledger: Ledger) -> list[str]:
    return [slot.state.value for slot in ledger.slots]


# assign ---------------------------------------------------------------------------------------------------------------


def test_a_new_ledger_is_free_and_its_generations_start_at_one():
    ledger = Ledger(slots=2, first_step=7, end_step=None, credits=1)
    assert states(ledger) == ["free", "free"] and ledger.lease() is None
    assert [ledger.assign(0), ledger.assign(1)] == [Assignment(7, 0, 1), Assignment(8, 1, 1)]
    assert states(ledger) == ["writing", "writing"]
    assert [slot.worker for slot in ledger.slots] == [0, 1]


def test_no_work_is_given_out_without_a_free_slot():
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    write(ledger)
    assert ledger.assign(1) and ledger.assign(2) is None


def test_no_work_is_given_out_behind_the_last_step():
    ledger = Ledger(slots=4, first_step=3, end_step=5, credits=1)
    assert [ledger.assign(0).step, ledger.assign(1).step] == [3, 4]
    assert ledger.assign(2) is None
    assert states(ledger).count("free") == 2


def test_a_leased_step_is_not_written_again():
    ledger = Ledger(slots=3, first_step=0, end_step=None, credits=1)
    write(ledger)
    ledger.lease()
    assert ledger.assign(0).step == 1


# wrote ----------------------------------------------------------------------------------------------------------------


def test_what_was_written_is_ready_and_its_worker_may_die():
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    write(ledger, worker=3)
    assert ledger.slots == [Slot(SlotState.READY, generation=1, step=0), Slot()]
    assert ledger.worker_died(3) is None
    assert ledger.lease() == Handout(0, 0, 1)


@pytest.mark.parametrize(
    ("worker", "slot", "generation", "complaint"),
    [
        (0, 0, 1, "slot 0 is writing in generation 2, not writing in generation 1"),
        (0, 0, 3, "slot 0 is writing in generation 2, not writing in generation 3"),
        (0, 0, 2, "worker 0 reports slot 0, which worker 1 writes"),
        (1, 1, 0, "slot 1 is free in generation 0, not writing in generation 0"),
        (1, 2, 2, "there is no slot 2"),
        (1, -2, 2, "there is no slot -2"),
    ],
)
def test_what_a_worker_writes_too_late_or_for_another_is_refused(worker, slot, generation, complaint):
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    ledger.assign(0)
    ledger.worker_died(0)
    assert ledger.assign(1) == Assignment(0, 0, 2)
    with pytest.raises(ProtocolError) as refusal:
        ledger.wrote(worker, slot, generation)
    assert str(refusal.value) == complaint
    assert states(ledger) == ["writing", "free"]


def test_a_worker_that_reports_twice_is_refused():
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    write(ledger)
    with pytest.raises(ProtocolError, match="slot 0 is ready in generation 1"):
        ledger.wrote(0, 0, 1)


# worker_died ----------------------------------------------------------------------------------------------------------


def test_the_step_of_a_dead_worker_is_made_before_any_new_one():
    ledger = Ledger(slots=4, first_step=0, end_step=None, credits=1)
    first = ledger.assign(0)
    second = ledger.assign(1)
    assert ledger.worker_died(0) == first
    assert ledger.slots[first.slot].state is SlotState.FREE
    assert ledger.assign(2) == Assignment(step=0, slot=first.slot, generation=first.generation + 1)
    assert ledger.assign(3).step == 2
    assert ledger.worker_died(1) == second


def test_the_death_of_an_idle_worker_changes_nothing():
    ledger = Ledger(slots=3, first_step=0, end_step=None, credits=1)
    write(ledger, worker=0)
    ledger.assign(1)
    assert ledger.worker_died(0) is None and ledger.worker_died(2) is None
    assert states(ledger) == ["ready", "writing", "free"]


# lease ----------------------------------------------------------------------------------------------------------------


def test_batches_are_leased_in_step_order_whatever_order_they_are_written_in():
    ledger = Ledger(slots=3, first_step=4, end_step=None, credits=3)
    assignments = [ledger.assign(worker) for worker in range(3)]
    assert [assignment.step for assignment in assignments] == [4, 5, 6]
    for worker in (2, 1):
        ledger.wrote(worker, assignments[worker].slot, assignments[worker].generation)
        assert ledger.lease() is None
    ledger.wrote(0, assignments[0].slot, assignments[0].generation)
    assert [ledger.lease() for _ in range(3)] == [Handout(4, 0, 1), Handout(5, 1, 1), Handout(6, 2, 1)]
    assert states(ledger) == ["leased"] * 3


def test_what_is_still_being_written_is_not_leased():
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    ledger.assign(0)
    assert ledger.lease() is None


def test_no_more_than_the_credits_are_leased():
    ledger = Ledger(slots=4, first_step=0, end_step=None, credits=2)
    for _ in range(4):
        write(ledger)
    first, _ = ledger.lease(), ledger.lease()
    assert ledger.lease() is None and ledger.count(SlotState.LEASED) == 2
    ledger.release(first.slot, first.generation)
    assert ledger.lease().step == 2


# release --------------------------------------------------------------------------------------------------------------


def test_a_released_slot_is_used_again_in_the_next_generation():
    ledger = Ledger(slots=1, first_step=0, end_step=None, credits=1)
    write(ledger)
    ledger.lease()
    ledger.release(0, 1)
    assert ledger.slots == [Slot(SlotState.FREE, generation=1)]
    assert ledger.assign(0) == Assignment(step=1, slot=0, generation=2)


def test_a_release_that_does_not_fit_the_slots_state_is_refused():
    ledger = Ledger(slots=1, first_step=0, end_step=None, credits=1)
    write(ledger)
    with pytest.raises(ProtocolError, match=r"^slot 0 is ready in generation 1, not leased in generation 1$"):
        ledger.release(0, 1)
    lease = ledger.lease()
    with pytest.raises(ProtocolError, match=r"^slot 0 is leased in generation 1, not leased in generation 2$"):
        ledger.release(0, 2)
    ledger.release(lease.slot, lease.generation)
    with pytest.raises(ProtocolError, match="slot 0 is free"):
        ledger.release(0, 1)
    with pytest.raises(ProtocolError, match="there is no slot 1"):
        ledger.release(1, 1)


# rewind ---------------------------------------------------------------------------------------------------------------


def test_rewinding_frees_what_is_leased_and_delivers_it_again():
    ledger = Ledger(slots=3, first_step=0, end_step=None, credits=2)
    for _ in range(3):
        write(ledger)
    stale, _ = ledger.lease(), ledger.lease()
    ledger.rewind(1)
    assert states(ledger) == ["free", "free", "ready"]
    with pytest.raises(ProtocolError):
        ledger.release(stale.slot, stale.generation)
    assert write(ledger).step == 1
    assert [ledger.lease().step, ledger.lease().step] == [1, 2]


@pytest.mark.parametrize(("step", "kept"), [(1, []), (2, [4]), (3, [4, 5]), (4, [4, 5, 6]), (5, [5, 6]), (7, [])])
def test_rewinding_keeps_what_is_ready_only_of_the_next_steps(step, kept):
    ledger = Ledger(slots=3, first_step=4, end_step=None, credits=1)
    for _ in range(3):
        write(ledger)
    ledger.rewind(step)
    assert [slot.step for slot in ledger.slots if slot.state is SlotState.READY] == kept
    assert states(ledger).count("free") == 3 - len(kept)
    assert ledger.next_delivery == step


@pytest.mark.parametrize(("step", "kept"), [(1, []), (2, [4]), (3, [4, 5]), (4, [4, 5, 6]), (5, [5, 6]), (7, [])])
def test_rewinding_quarantines_what_is_being_written_unless_it_is_of_the_next_steps(step, kept):
    ledger = Ledger(slots=3, first_step=4, end_step=None, credits=1)
    for worker in range(3):
        ledger.assign(worker)
    ledger.rewind(step)
    assert [slot.step for slot in ledger.slots if slot.state is SlotState.WRITING] == kept
    assert ledger.count(SlotState.QUARANTINED) == 3 - len(kept)


def quarantined() -> Ledger:
    """Worker 0 writes step 0 into slot 0 for nobody; the next delivery is step 9."""
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    ledger.assign(0)
    ledger.rewind(9)
    assert states(ledger) == ["quarantined", "free"]
    return ledger


def test_a_quarantined_slot_is_neither_given_out_nor_delivered():
    ledger = quarantined()
    assert ledger.assign(1) == Assignment(step=9, slot=1, generation=1)
    assert ledger.assign(2) is None and ledger.lease() is None


def test_a_quarantined_slot_is_free_when_its_worker_has_written():
    ledger = quarantined()
    assert ledger.wrote(0, 0, 1) is False
    assert states(ledger) == ["free", "free"]
    assert ledger.assign(0) == Assignment(step=9, slot=0, generation=2)


def test_a_quarantined_slot_is_free_when_its_worker_is_dead_and_nothing_is_lost():
    ledger = quarantined()
    assert ledger.worker_died(0) is None
    assert states(ledger) == ["free", "free"]


def test_only_the_worker_that_writes_a_quarantined_slot_may_report_it():
    ledger = quarantined()
    for worker, generation in ((1, 1), (0, 2)):
        with pytest.raises(ProtocolError):
            ledger.wrote(worker, 0, generation)
    assert states(ledger) == ["quarantined", "free"]


def test_a_quarantined_step_that_is_wanted_again_is_made_in_another_slot():
    ledger = quarantined()
    ledger.rewind(0)
    assert states(ledger) == ["quarantined", "free"]
    assert write(ledger, worker=1) == Assignment(step=0, slot=1, generation=1)
    assert ledger.lease() == Handout(step=0, slot=1, generation=1)


def test_rewinding_behind_the_last_step_finishes_the_stream():
    ledger = Ledger(slots=2, first_step=0, end_step=3, credits=1)
    write(ledger)
    ledger.rewind(3)
    assert ledger.finished and ledger.assign(0) is None
    ledger.rewind(2)
    assert not ledger.finished and ledger.assign(0).step == 2


# finished -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_step", [5, 9])
def test_a_stream_that_starts_at_its_end_or_behind_it_is_finished(first_step):
    ledger = Ledger(slots=2, first_step=first_step, end_step=5, credits=1)
    assert ledger.finished and ledger.assign(0) is None


def test_a_stream_is_finished_when_its_last_step_is_handed_out():
    ledger = Ledger(slots=2, first_step=0, end_step=1, credits=1)
    write(ledger)
    assert not ledger.finished and ledger.assign(0) is None
    ledger.lease()
    assert ledger.finished


def test_an_endless_stream_is_never_finished():
    ledger = Ledger(slots=1, first_step=10**12, end_step=None, credits=1)
    assert write(ledger).step == 10**12
    ledger.lease()
    assert not ledger.finished

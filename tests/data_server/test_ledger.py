import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from data_server.ledger import Assignment, Lease, Ledger, ProtocolError, SlotState


def write(ledger, worker=0):
    assignment = ledger.assign(worker)
    ledger.wrote(worker, assignment.slot, assignment.generation)
    return assignment


def test_batches_are_leased_in_step_order_whatever_order_they_are_written_in():
    ledger = Ledger(slots=3, first_step=4, end_step=None, credits=3)
    assignments = [ledger.assign(worker) for worker in range(3)]
    assert [assignment.step for assignment in assignments] == [4, 5, 6]
    for worker in (2, 1):
        ledger.wrote(worker, assignments[worker].slot, assignments[worker].generation)
        assert ledger.lease() is None
    ledger.wrote(0, assignments[0].slot, assignments[0].generation)
    assert [ledger.lease().step for _ in range(3)] == [4, 5, 6]


def test_no_more_than_the_credits_are_leased():
    ledger = Ledger(slots=4, first_step=0, end_step=None, credits=2)
    for _ in range(4):
        write(ledger)
    first, _ = ledger.lease(), ledger.lease()
    assert ledger.lease() is None
    ledger.release(first.slot, first.generation)
    assert ledger.lease().step == 2


def test_no_work_is_given_out_without_a_free_slot():
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    write(ledger)
    assert ledger.assign(1) and ledger.assign(2) is None


def test_the_step_of_a_dead_worker_is_made_before_any_new_one():
    ledger = Ledger(slots=4, first_step=0, end_step=None, credits=1)
    first = ledger.assign(0)
    ledger.assign(1)
    assert ledger.worker_died(0) == [0]
    assert ledger.slots[first.slot].state is SlotState.FREE
    assert ledger.assign(2) == Assignment(step=0, slot=first.slot, generation=first.generation + 1)
    assert ledger.assign(3).step == 2


def test_the_death_of_an_idle_worker_changes_nothing():
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    write(ledger, worker=0)
    assert ledger.worker_died(0) == []
    assert ledger.lease() == Lease(0, 0, 1)


def test_what_a_worker_writes_too_late_or_for_another_is_refused():
    ledger = Ledger(slots=2, first_step=0, end_step=None, credits=1)
    late = ledger.assign(0)
    ledger.worker_died(0)
    ledger.assign(1)
    for worker, slot, generation in ((0, late.slot, late.generation), (0, late.slot, late.generation + 1), (1, 1, 0)):
        with pytest.raises(ProtocolError):
            ledger.wrote(worker, slot, generation)


def test_a_release_that_does_not_fit_the_slots_state_is_refused():
    ledger = Ledger(slots=1, first_step=0, end_step=None, credits=1)
    write(ledger)
    with pytest.raises(ProtocolError, match="slot 0 is ready in generation 1, not leased in generation 1"):
        ledger.release(0, 1)
    lease = ledger.lease()
    with pytest.raises(ProtocolError, match="generation 2"):
        ledger.release(0, 2)
    ledger.release(lease.slot, lease.generation)
    with pytest.raises(ProtocolError, match="slot 0 is free"):
        ledger.release(0, 1)
    with pytest.raises(ProtocolError, match="there is no slot 7"):
        ledger.release(7, 1)


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


class Stream(RuleBasedStateMachine):
    """Workers that write, die and lie; a client that takes and returns; the ledger must keep its promises."""

    END = 12

    def __init__(self):
        super().__init__()
        self.ledger = Ledger(slots=4, first_step=0, end_step=self.END, credits=2)
        self.writing: dict[int, Assignment] = {}
        self.leases: list[Lease] = []
        self.delivered: list[int] = []
        self.used: set[tuple[int, int]] = set()

    @rule(worker=st.integers(0, 4))
    def assign(self, worker):
        if worker not in self.writing and (assignment := self.ledger.assign(worker)):
            use = (assignment.slot, assignment.generation)
            assert use not in self.used, "a generation twice"
            self.used.add(use)
            assert all(assignment.slot != lease.slot for lease in self.leases), "a slot that is being read"
            assert all(assignment.slot != other.slot for other in self.writing.values()), "a slot that is being written"
            self.writing[worker] = assignment

    @precondition(lambda self: self.writing)
    @rule(data=st.data())
    def wrote(self, data):
        worker = data.draw(st.sampled_from(sorted(self.writing)))
        assignment = self.writing.pop(worker)
        self.ledger.wrote(worker, assignment.slot, assignment.generation)

    @rule(worker=st.integers(0, 4))
    def worker_dies(self, worker):
        assignment = self.writing.pop(worker, None)
        assert self.ledger.worker_died(worker) == ([assignment.step] if assignment else [])

    @rule()
    def lease(self):
        if lease := self.ledger.lease():
            self.leases.append(lease)
            self.delivered.append(lease.step)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data):
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        self.ledger.release(lease.slot, lease.generation)

    @rule(slot=st.integers(0, 5), generation=st.integers(0, 9), worker=st.integers(0, 4))
    def a_peer_lies(self, slot, generation, worker):
        if all((slot, generation) != (lease.slot, lease.generation) for lease in self.leases):
            with pytest.raises(ProtocolError):
                self.ledger.release(slot, generation)
        written = self.writing.get(worker)
        if written is None or (slot, generation) != (written.slot, written.generation):
            with pytest.raises(ProtocolError):
                self.ledger.wrote(worker, slot, generation)

    @invariant()
    def every_step_once_and_in_order(self):
        assert self.delivered == list(range(len(self.delivered)))

    @invariant()
    def the_ledger_knows_who_has_what(self):
        states = [slot.state for slot in self.ledger.slots]
        assert states.count(SlotState.WRITING) == len(self.writing)
        assert states.count(SlotState.LEASED) == len(self.leases) == self.ledger.leased <= 2

    def teardown(self):
        """However it went so far, the stream can be brought to its end."""
        for worker in list(self.writing):
            self.worker_dies(worker)
        while not self.ledger.finished:
            for lease in self.leases:
                self.ledger.release(lease.slot, lease.generation)
            self.leases = []
            self.assign(0)
            if 0 in self.writing:
                assignment = self.writing.pop(0)
                self.ledger.wrote(0, assignment.slot, assignment.generation)
            self.lease()
        assert self.delivered == list(range(self.END))


Stream.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStream = Stream.TestCase

"""Workers that write, die and lie, a client that takes, returns, dies and comes back, in any order that hypothesis
finds; the ledger against a reference that keeps its books in another way."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from data_server.serving.ledger import Assignment, Handout, Ledger, ProtocolError, SlotState

# Any order of everything ----------------------------------------------------------------------------------------------

WORKERS = st.integers(0, 3)


class Stream(RuleBasedStateMachine):
    """The ledger against books that are kept by user and by step, where the ledger keeps them by slot: who writes what,
    which steps are in store, what the client holds. Workers write, die and lie; clients take, return, lie, and are
    replaced by others that start anywhere."""

    @initialize(
        slots=st.integers(2, 4), first=st.integers(0, 3), end=st.none() | st.integers(3, 12), credits=st.integers(1, 2)
    )
    def open(self, slots, first, end, credits):
        self.ledger = Ledger(slots, first, end, credits)
        self.end, self.credits, self.next = end, credits, first
        self.writing: dict[int, Assignment] = {}  # by worker; wanted
        self.unwanted: dict[int, Assignment] = {}  # by worker
        self.store: dict[int, tuple[int, int]] = {}  # step -> slot, generation
        self.held: dict[int, int] = {}  # slot -> generation, at the client
        self.generations = dict.fromkeys(range(slots), 0)

    def busy(self) -> dict[int, Assignment]:
        return {**self.writing, **self.unwanted}

    def unused(self) -> set[int]:
        written = {assignment.slot for assignment in self.busy().values()}
        return set(self.generations) - written - {slot for slot, _ in self.store.values()} - set(self.held)

    def todo(self) -> int | None:
        """The first step that nobody has and nobody makes."""
        made = {assignment.step for assignment in self.writing.values()} | set(self.store)
        step = min(set(range(self.next, self.next + len(made) + 1)) - made)
        return step if self.end is None or step < self.end else None

    @rule(worker=WORKERS)
    def a_worker_asks(self, worker):
        if worker in self.busy():
            return
        step, slots = self.todo(), self.unused()
        assignment = self.ledger.assign(worker)
        if step is None or not slots:
            assert assignment is None
            return
        assert assignment.step == step and assignment.slot in slots
        self.generations[assignment.slot] += 1
        assert assignment.generation == self.generations[assignment.slot]
        self.writing[worker] = assignment

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def a_worker_writes(self, data):
        worker = data.draw(st.sampled_from(sorted(self.busy())))
        wanted, assignment = worker in self.writing, self.busy()[worker]
        assert self.ledger.wrote(worker, assignment.slot, assignment.generation) is wanted
        if wanted:
            self.store[assignment.step] = assignment.slot, assignment.generation
        self.forget(worker)

    @rule(worker=WORKERS)
    def a_worker_dies(self, worker):
        assert self.ledger.worker_died(worker) == self.writing.get(worker)
        self.forget(worker)

    def forget(self, worker: int) -> None:
        self.writing.pop(worker, None)
        self.unwanted.pop(worker, None)

    @rule()
    def the_client_receives(self):
        lease = self.ledger.lease()
        if len(self.held) == self.credits or self.next not in self.store:
            assert lease is None
            return
        slot, generation = self.store.pop(self.next)
        assert lease == Handout(self.next, slot, generation)
        self.held[slot] = generation
        self.next += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def the_client_releases(self, data):
        slot = data.draw(st.sampled_from(sorted(self.held)))
        self.ledger.release(slot, self.held.pop(slot))

    @rule(distance=st.integers(-6, 6))
    def another_client_takes_its_place(self, distance):
        self.next = max(0, self.next + distance)
        if self.end is not None:
            self.next = min(self.next, self.end)
        self.ledger.rewind(self.next)
        self.held = {}
        near = range(self.next, self.next + len(self.generations))
        self.store = {step: place for step, place in self.store.items() if step in near}
        for worker, assignment in list(self.writing.items()):
            if assignment.step not in near:
                self.unwanted[worker] = self.writing.pop(worker)

    @rule(slot=st.integers(-1, 4), generation=st.integers(0, 9), worker=WORKERS)
    def a_peer_lies(self, slot, generation, worker):
        if self.held.get(slot) != generation:
            with pytest.raises(ProtocolError):
                self.ledger.release(slot, generation)
        assignment = self.busy().get(worker)
        if assignment is None or (slot, generation) != (assignment.slot, assignment.generation):
            with pytest.raises(ProtocolError):
                self.ledger.wrote(worker, slot, generation)

    @invariant()
    def the_ledger_knows_who_has_what(self):
        booked = {
            SlotState.FREE: self.unused(),
            SlotState.WRITING: {assignment.slot for assignment in self.writing.values()},
            SlotState.QUARANTINED: {assignment.slot for assignment in self.unwanted.values()},
            SlotState.READY: {slot for slot, _ in self.store.values()},
            SlotState.LEASED: set(self.held),
        }
        for state, slots in booked.items():
            assert {index for index, slot in enumerate(self.ledger.slots) if slot.state is state} == slots
            assert self.ledger.count(state) == len(slots)
        assert self.ledger.next_delivery == self.next
        assert self.ledger.finished == (self.end is not None and self.next >= self.end)

    def teardown(self):
        """However it went so far, the stream continues: to its end, or for as long as one likes."""
        if not hasattr(self, "ledger"):
            return
        for worker in list(self.busy()):
            self.a_worker_dies(worker)
        goal = self.next + 9 if self.end is None else self.end
        while self.next < goal:
            before = self.next
            for slot in list(self.held):
                self.ledger.release(slot, self.held.pop(slot))
            self.a_worker_asks(0)
            if 0 in self.writing:
                assignment = self.writing.pop(0)
                assert self.ledger.wrote(0, assignment.slot, assignment.generation)
                self.store[assignment.step] = assignment.slot, assignment.generation
            self.the_client_receives()
            assert self.next == before + 1
        assert self.end is None or self.ledger.finished


Stream.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestStream = Stream.TestCase

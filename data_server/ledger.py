"""The ledger: who may touch which slot, and which step comes next. A pure state machine: no I/O, no clock, standard
library only.

One ledger per stream. It alone owns the state of the stream's slots; everybody else asks it and does what it says.

    slot:   FREE ──assign──► WRITING ──wrote──► READY ──lease──► LEASED ──release──► FREE
                                │
                                └──worker_died──► FREE

    step:   todo ──assign──► being written ──wrote──► ready ──lease──► delivered
              ▲                    │
              └────worker_died─────┘

Rules: the lowest step that is to do is always given out first, so the step that the client waits for can never be
crowded out by later ones; batches are leased in step order; at most `credits` are leased at a time. A slot's generation
grows by one at every assignment, so that a late message about an earlier use of the slot is recognised.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum


class SlotState(Enum):
    FREE = "free"
    WRITING = "writing"
    READY = "ready"
    LEASED = "leased"


class ProtocolError(Exception):
    """A peer said something that does not fit the state of the slot it spoke of."""


@dataclass
class Slot:
    """One slot: its state, generation, and, unless FREE, its step; while WRITING the worker."""

    state: SlotState = SlotState.FREE
    generation: int = 0
    step: int = -1
    worker: int = -1


@dataclass(frozen=True)
class Assignment:
    """Permission to write `step` into `slot`."""

    step: int
    slot: int
    generation: int


@dataclass(frozen=True)
class Lease:
    """Permission to read `step` in `slot`."""

    step: int
    slot: int
    generation: int


class Ledger:
    """The slots of one stream and the steps ``first_step <= step < end_step`` (`end_step` None: endless).

    It ends with its stream: a client's death closes both.
    """

    def __init__(self, slots: int, first_step: int, end_step: int | None, credits: int) -> None:
        self.slots = [Slot() for _ in range(slots)]
        self.credits = credits
        self.end_step = end_step
        self.next_delivery = first_step
        self._next_new = first_step
        self._redo: list[int] = []  # a heap

    def assign(self, worker: int) -> Assignment | None:
        """The next piece of work for an idle worker, or None when there is no free slot or no step left."""
        slot = self._first(SlotState.FREE)
        step = self._redo[0] if self._redo else self._next_new
        if slot is None or (not self._redo and self._ended(step)):
            return None
        if self._redo:
            heapq.heappop(self._redo)
        else:
            self._next_new += 1
        entry = self.slots[slot]
        entry.state, entry.step, entry.worker = SlotState.WRITING, step, worker
        entry.generation += 1
        return Assignment(step, slot, entry.generation)

    def wrote(self, worker: int, slot: int, generation: int) -> None:
        """WRITING -> READY. Raises ProtocolError unless this worker is writing this generation of the slot."""
        entry = self._entry(slot, generation, SlotState.WRITING)
        if entry.worker != worker:
            raise ProtocolError(f"worker {worker} reports slot {slot}, which worker {entry.worker} writes")
        entry.state, entry.worker = SlotState.READY, -1

    def worker_died(self, worker: int) -> list[int]:
        """WRITING -> FREE for all that a dead worker was writing; returns the steps that go back to be done."""
        steps = []
        for entry in self.slots:
            if entry.state is SlotState.WRITING and entry.worker == worker:
                steps.append(entry.step)
                heapq.heappush(self._redo, entry.step)
                self._free(entry)
        return steps

    def lease(self) -> Lease | None:
        """READY -> LEASED for the next step in order, or None when it is not ready or the client holds all its
        credits."""
        if self.leased >= self.credits:
            return None
        for index, entry in enumerate(self.slots):
            if entry.state is SlotState.READY and entry.step == self.next_delivery:
                entry.state = SlotState.LEASED
                self.next_delivery += 1
                return Lease(entry.step, index, entry.generation)
        return None

    def release(self, slot: int, generation: int) -> None:
        """LEASED -> FREE. Raises ProtocolError unless this generation of the slot is leased."""
        self._free(self._entry(slot, generation, SlotState.LEASED))

    @property
    def leased(self) -> int:
        return sum(entry.state is SlotState.LEASED for entry in self.slots)

    @property
    def finished(self) -> bool:
        """All steps have been handed to the client."""
        return self._ended(self.next_delivery)

    def _ended(self, step: int) -> bool:
        return self.end_step is not None and step >= self.end_step

    def _entry(self, slot: int, generation: int, state: SlotState) -> Slot:
        if not 0 <= slot < len(self.slots):
            raise ProtocolError(f"there is no slot {slot}")
        entry = self.slots[slot]
        if entry.state is not state or entry.generation != generation:
            raise ProtocolError(
                f"slot {slot} is {entry.state.value} in generation {entry.generation}, "
                f"not {state.value} in generation {generation}"
            )
        return entry

    def _first(self, state: SlotState) -> int | None:
        return next((index for index, entry in enumerate(self.slots) if entry.state is state), None)

    @staticmethod
    def _free(entry: Slot) -> None:
        entry.state, entry.step, entry.worker = SlotState.FREE, -1, -1

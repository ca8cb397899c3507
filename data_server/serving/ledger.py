"""The ledger: who may touch which slot, and which step comes next. A pure state machine: no I/O, no clock, standard
library only.

There is one per stream. It alone owns the state of the stream's slots; everybody else asks it and does what it says.

    slot:   FREE ──assign──► WRITING ──wrote──► READY ──lease──► LEASED
              ▲                 │  │              │                │
              ├──worker_died────┘  │ rewind       │ rewind         │ release, rewind
              │                    ▼              │                │
              ├── wrote, ──── QUARANTINED         │                │
              │   worker_died                     │                │
              └───────────────────────────────────┴────────────────┘

    transition    from          to            said by
    assign        FREE          WRITING       the stream, for an idle worker
    wrote         WRITING       READY         the worker that was assigned
                  QUARANTINED   FREE          the same: what it wrote is no longer wanted
    worker_died   WRITING       FREE          the kernel, about the worker
                  QUARANTINED   FREE          the same
    lease         READY         LEASED        the stream, in step order
    release       LEASED        FREE          the client
    rewind        LEASED        FREE          the kernel, about the client; or a client that takes its place
                  READY         FREE          the same; it stays READY when its step is among the next ones
                  WRITING       QUARANTINED   the same; it stays WRITING when its step is among the next ones

A slot leaves WRITING, QUARANTINED and LEASED only when its user has said so or is known to be dead; no time-out frees
anything. QUARANTINED is for work that is no longer wanted while its worker lives.

The step to be written next is always the first one, from the next delivery on, that is neither WRITING nor READY. So
every step in these two states is among the next `len(slots)` ones, and the step that the client waits for can never be
crowded out by later ones. Batches are leased in step order; at most `credits` are leased at a time. A slot's generation
grows by one at every assignment, so that a late message about an earlier use of the slot is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class SlotState(Enum):
    FREE = "free"
    WRITING = "writing"
    READY = "ready"
    LEASED = "leased"
    QUARANTINED = "quarantined"


class ProtocolError(Exception):
    """A peer said something that does not fit the state of the slot it spoke of."""


@dataclass(slots=True)
class Slot:
    """One slot: its state, generation, unless FREE its step, while WRITING or QUARANTINED its worker; -1 for none."""

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
class Handout:
    """Permission to read `step` in `slot`."""

    step: int
    slot: int
    generation: int


class Ledger:
    """The slots of one stream and the steps ``first_step <= step < end_step`` (`end_step` None: endless)."""

    def __init__(self, slots: int, first_step: int, end_step: int | None, credits: int) -> None:
        self.slots = [Slot() for _ in range(slots)]
        self.credits = credits
        self.end_step = end_step
        self.next_delivery = first_step

    def assign(self, worker: int) -> Assignment | None:
        """FREE -> WRITING: the next piece of work for an idle worker, or None when there is no free slot or no step
        left."""
        step = self.next_step
        if step is None:
            return None
        free = SlotState.FREE
        for index, entry in enumerate(self.slots):
            if entry.state is free:
                entry.state, entry.step, entry.worker = SlotState.WRITING, step, worker
                entry.generation += 1
                return Assignment(step, index, entry.generation)
        return None

    def wrote(self, worker: int, slot: int, generation: int) -> bool:
        """WRITING -> READY, QUARANTINED -> FREE. Returns whether the batch is wanted.

        Raises:
            ProtocolError: this worker is not writing this generation of the slot.
        """
        entry = self._entry(slot, generation, SlotState.WRITING, SlotState.QUARANTINED)
        if entry.worker != worker:
            raise ProtocolError(f"worker {worker} reports slot {slot}, which worker {entry.worker} writes")
        if entry.state is SlotState.QUARANTINED:
            self._free(entry)
            return False
        entry.state, entry.worker = SlotState.READY, -1
        return True

    def worker_died(self, worker: int) -> Assignment | None:
        """WRITING, QUARANTINED -> FREE for the slot that a dead worker was writing; returns what it was writing, None
        when it was idle or the batch was no longer wanted."""
        for index, entry in enumerate(self.slots):
            if entry.worker == worker:
                lost = Assignment(entry.step, index, entry.generation)
                wanted = entry.state is SlotState.WRITING
                self._free(entry)
                return lost if wanted else None
        return None

    def lease(self) -> Handout | None:
        """READY -> LEASED for the next step in order, or None when it is not ready or the client holds all its
        credits."""
        if self.count(SlotState.LEASED) >= self.credits:
            return None
        step, ready = self.next_delivery, SlotState.READY
        for index, entry in enumerate(self.slots):
            if entry.step == step and entry.state is ready:
                entry.state = SlotState.LEASED
                self.next_delivery += 1
                return Handout(entry.step, index, entry.generation)
        return None

    def release(self, slot: int, generation: int) -> None:
        """LEASED -> FREE. Raises ProtocolError unless this generation of the slot is leased."""
        self._free(self._entry(slot, generation, SlotState.LEASED))

    def rewind(self, step: int) -> None:
        """The client has released everything or is dead; the next delivery is `step`, earlier or later than it would
        have been. What has been written, or is being written, of the next steps stays."""
        self.next_delivery = step
        for entry in self.slots:
            if entry.state is SlotState.LEASED:
                self._free(entry)
            elif not step <= entry.step < step + len(self.slots):
                if entry.state is SlotState.READY:
                    self._free(entry)
                elif entry.state is SlotState.WRITING:
                    entry.state = SlotState.QUARANTINED

    def count(self, state: SlotState) -> int:
        """How many slots are in `state`."""
        return [entry.state for entry in self.slots].count(state)

    @property
    def finished(self) -> bool:
        """All steps have been handed to the client."""
        return self._ended(self.next_delivery)

    @property
    def next_step(self) -> int | None:
        """The step that is assigned next; None when there is none left."""
        step = self._next_missing()
        return None if self._ended(step) else step

    def _next_missing(self) -> int:
        writing, ready = SlotState.WRITING, SlotState.READY
        held = {entry.step for entry in self.slots if entry.state is writing or entry.state is ready}
        step = self.next_delivery
        while step in held:
            step += 1
        return step

    def _ended(self, step: int) -> bool:
        return self.end_step is not None and step >= self.end_step

    def _entry(self, slot: int, generation: int, *states: SlotState) -> Slot:
        if not 0 <= slot < len(self.slots):
            raise ProtocolError(f"there is no slot {slot}")
        entry = self.slots[slot]
        if entry.state not in states or entry.generation != generation:
            raise ProtocolError(
                f"slot {slot} is {entry.state.value} in generation {entry.generation}, "
                f"not {states[0].value} in generation {generation}"
            )
        return entry

    @staticmethod
    def _free(entry: Slot) -> None:
        entry.state, entry.step, entry.worker = SlotState.FREE, -1, -1

"""What a stream has done and what it has been waiting for: plain counts, and the seconds of two stalls.

    stall      lasts while                                                                      who waits for whom
    DATA       the trainer has credit left, steps are left, and the next batch is not READY     trainer for workers
    COMPUTE    no slot is FREE, all workers are idle, and batches are left to be made           workers for trainer
    none       otherwise: both are at work, or there is no trainer, or nothing left to do

The stream reports its state whenever its ledger has nothing more to hand out; the clock is read only when it changes.
Only the server's one thread touches the meter.

DATA is what the server can see. A trainer that has returned all its batches may be working on copies of them, so the
time that its device really waits is between zero and DATA; the trainer itself measures it.
"""

from __future__ import annotations

import time
from collections import Counter
from enum import Enum

from data_server.serving.blame import Death
from data_server.serving.ledger import Ledger, SlotState

CAUSES = ("killed", "crashed", "out_of_memory", "recycled", "orphaned", "stillborn", "unreachable")


class Stall(Enum):
    """What is missing."""

    DATA = "data"
    COMPUTE = "compute"


class Meter:
    """The counts of one stream, from its beginning, whichever trainers read it.

    Attributes:
        ledger: the stream's; None until its data set is built.
        memory_bytes: what the memory plan says.
        batches: handed to a trainer; `payload_bytes` is their size.
        far_batches: made by workers on other hosts.
        worker_restarts: by cause, one of `CAUSES`.
        stall: the one that lasts, as of the last `observe`.
    """

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        self.memory_bytes = 0
        self.batches = 0
        self.payload_bytes = 0
        self.far_batches = 0
        self.worker_restarts: Counter[str] = Counter()
        self.nursery_restarts = 0
        self.quarantined = 0
        self.replaced = 0
        self.evaluations = 0
        self.stall: Stall | None = None
        self._seconds = dict.fromkeys(Stall, 0.0)
        self._since = 0.0

    def delivered(self, payload_bytes: int) -> None:
        """A batch has been handed to the trainer."""
        self.batches += 1
        self.payload_bytes += payload_bytes

    def observe(self, *, read: bool, all_idle: bool) -> None:
        """The ledger has handed out all it can.

        Args:
            read: there is a trainer.
            all_idle: no worker is at work, being born or dead.
        """
        stall = _who_waits(self.ledger, all_idle) if read and self.ledger else None
        if stall is not self.stall:
            now = time.monotonic()
            if self.stall is not None:
                self._seconds[self.stall] += now - self._since
            self.stall, self._since = stall, now

    def stall_seconds(self, stall: Stall) -> float:
        """Seconds spent in `stall`, up to now."""
        running = time.monotonic() - self._since if stall is self.stall else 0.0
        return self._seconds[stall] + running


def _who_waits(ledger: Ledger, all_idle: bool) -> Stall | None:
    states = [slot.state for slot in ledger.slots]
    if not ledger.finished and states.count(SlotState.LEASED) < ledger.credits:
        return Stall.DATA
    if all_idle and SlotState.FREE not in states:
        made = ledger.next_delivery + states.count(SlotState.READY)
        if ledger.end_step is None or made < ledger.end_step:
            return Stall.COMPUTE
    return None


def cause_of(death: Death) -> str:
    """Which of `CAUSES` a worker's death is."""
    if death.out_of_memory:
        return "out_of_memory"
    if not death.known:
        return "orphaned"
    return "killed" if death.signal and not death.own_doing else "crashed"

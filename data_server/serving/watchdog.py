"""Watches the workers of one stream while they are at work.

    at work ──► more memory than planned ──► condemned: killed, and the death is blamed on the sample in hand
       │    ──► longer over one sample than feed.image_seconds ──► condemned
       │    ──► long: the log says so, once
       └──► still there long after it was condemned ──► the stream ends: nothing can be done about it from here

Where a worker is in its batch it says itself, in the arena (`shared.arena.in_hand`).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from data_server.machine.memory import MIB
from data_server.serving.blame import Death
from data_server.serving.child import Child, Work
from data_server.serving.loop import Loop
from shared.arena import in_hand
from shared.messages import Failure

LOOK_SECONDS = 0.1
TELL_SECONDS = 30.0
_DYING_SECONDS = 60.0  # a process that waits for a dead mount may not even hear SIGKILL


class Watchdog:
    """Looks at all that are at work, every `LOOK_SECONDS` while there are any.

    Args:
        feed: the stream's `feed` section.
        workers: those of the stream by number; the caller's, which changes it.
        notice: takes a line for the log.
        failed: ends the stream.

    Attributes:
        planned: bytes that a worker was planned with.
        memory_limit: bytes that it may take beside those.
    """

    def __init__(
        self,
        loop: Loop,
        feed: dict[str, Any],
        workers: dict[int, Child],
        notice: Callable[[str], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self.planned = 0
        self.memory_limit: int = feed["worker_memory"] * MIB
        self._image_seconds: float = feed["image_seconds"]
        self._loop, self._workers, self._notice, self._failed = loop, workers, notice, failed
        self._looking = False

    def begin(self, memory: int, slot_bytes: int) -> None:
        """A worker has been given a batch, in a slot of the arena behind the descriptor `memory`."""
        self._memory, self._slot_bytes = memory, slot_bytes
        if not self._looking:
            self._looking = True
            self._loop.after(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        self._loop.cancel(self._look)

    def _look(self) -> None:
        self._looking = False
        for number, process in list(self._workers.items()):
            if process.work is not None and self._workers.get(number) is process:
                self._looking = True
                self._look_at(number, process, process.work)
        if self._looking and self._workers:
            self._loop.after(LOOK_SECONDS, self._look)

    def _look_at(self, worker: int, process: Child, work: Work) -> None:
        place, image = in_hand(self._memory, work.order.slot, self._slot_bytes)
        now = time.monotonic()
        if place != work.place:
            work.place, work.since = place, now
        seconds = now - work.since
        if process.sentence is not None:
            if seconds > _DYING_SECONDS:
                text = f"worker {worker} was killed over image {image!r} and does not die; look at its disk or mount"
                self._failed(Failure(text, False))
            return
        held, most = process.held(), self.planned + self.memory_limit
        if held > most:
            verdict = (
                f"it held {held / MIB:.0f} MiB, more than the {self.planned / MIB:.0f} MiB that were planned and "
                f"feed.worker_memory={self.memory_limit // MIB}"
            )
            process.condemn(Death(signal.SIGKILL, out_of_memory=True, verdict=verdict))
        elif self._image_seconds and seconds > self._image_seconds:
            verdict = f"it took longer than feed.image_seconds={self._image_seconds:g} for one image"
            process.condemn(Death(signal.SIGKILL, verdict=verdict))
            work.since = now
        elif seconds > TELL_SECONDS and not work.told:
            work.told = True
            what = f"image {image!r}" if place else "no image any more"
            end = f"; it is killed after feed.image_seconds={self._image_seconds:g}" if self._image_seconds else ""
            self._notice(
                f"worker {worker} has been at work for {seconds:.0f} s on {what}, for the batch of step "
                f"{work.order.step}{end}"
            )

"""What is noted of each batch while it travels, in memory that its makers and its consumer share.

    │ interval ns │ row of batch 0 │ row of batch 1 │ ...                                                     int64

    row:  │ complete │ arrived │ preparation │ receiving │      two instants of CLOCK_MONOTONIC and two durations, ns

A stamp that travelled with its batch would have to be written before the batch is complete. Every row is written by the
one process that has its batch in hand. The table wraps around: a batch has row ``number % ROWS``.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass

import numpy as np

ROWS = 1 << 12
_COMPLETE, _ARRIVED, _PREPARATION, _RECEIVING = range(4)
_BYTES = 8 * (1 + 4 * ROWS)


@dataclass(frozen=True)
class Stamp:
    """Of one batch; seconds.

    Attributes:
        handed: when it was complete on the consumer's host, on the monotonic clock.
        transport: from another host's memory to this one's; 0 for a batch that was made here.
        preparation: processor time spent on making it.
        receiving: processor time spent here on receiving it from another host.
    """

    handed: float
    transport: float
    preparation: float
    receiving: float


class Stamps:
    """`path` opens the same table in another process while this one lives."""

    def __init__(self, path: str | None = None) -> None:
        """Makes a new table; opens the one at `path` if that is given."""
        descriptor = os.open(path, os.O_RDWR) if path else os.memfd_create("stamps")
        os.ftruncate(descriptor, _BYTES)
        table = np.frombuffer(mmap.mmap(descriptor, _BYTES), np.int64)
        self._interval, self._rows = table[:1], table[1:].reshape(ROWS, 4)
        self.path = f"/proc/{os.getpid()}/fd/{descriptor}"

    @property
    def interval(self) -> float:
        """Seconds that a producer rests before a batch."""
        return float(self._interval[0]) / 1e9

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._interval[0] = round(seconds * 1e9)

    def prepared(self, number: int, nanoseconds: int) -> None:
        """Batch `number` has taken so much processor time so far."""
        self._rows[number % ROWS] = (0, 0, nanoseconds, 0)

    def complete(self, number: int) -> None:
        """Batch `number` is complete now, where it is made."""
        self._rows[number % ROWS, _COMPLETE] = time.monotonic_ns()

    def arrived(self, number: int, nanoseconds: int) -> None:
        """Batch `number` has come from another host, which took so much processor time here."""
        self._rows[number % ROWS, (_ARRIVED, _RECEIVING)] = (time.monotonic_ns(), nanoseconds)

    def of(self, number: int) -> Stamp:
        complete, arrived, preparation, receiving = (float(value) / 1e9 for value in self._rows[number % ROWS])
        handed = max(complete, arrived)
        return Stamp(handed, handed - complete, preparation, receiving)

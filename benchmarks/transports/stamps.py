"""The instants at which batches were complete, in memory that producer and consumer share.

    │ interval ns │ preparation ns │ instant of batch 0, ns │ instant of batch 1 │ ...            int64, CLOCK_MONOTONIC

A stamp that travelled with its batch would have to be written before the batch is complete. The table wraps around: a
batch's stamp is in row ``number % ROWS``.
"""

from __future__ import annotations

import mmap
import os
import time

import numpy as np

ROWS = 1 << 12
_INTERVAL, _PREPARATION, _FIRST = 0, 1, 2
_BYTES = 8 * (_FIRST + ROWS)


class Stamps:
    """One producer writes, one consumer reads; `path` opens the same table in another process while this one lives."""

    def __init__(self, path: str | None = None) -> None:
        """Makes a new table; opens the one at `path` if that is given."""
        descriptor = os.open(path, os.O_RDWR) if path else os.memfd_create("stamps")
        os.ftruncate(descriptor, _BYTES)
        self._table = np.frombuffer(mmap.mmap(descriptor, _BYTES), np.int64)
        self.path = f"/proc/{os.getpid()}/fd/{descriptor}"

    @property
    def interval(self) -> float:
        """Seconds that the producer rests before a batch."""
        return self._table[_INTERVAL] / 1e9

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._table[_INTERVAL] = seconds * 1e9

    @property
    def preparation(self) -> float:
        """Processor seconds spent so far on making payloads."""
        return self._table[_PREPARATION] / 1e9

    def complete(self, number: int) -> None:
        """Batch `number` is complete now."""
        self._table[_FIRST + number % ROWS] = time.monotonic_ns()

    def since(self, number: int) -> float:
        """Seconds from the completion of batch `number` to now."""
        return (time.monotonic_ns() - self._table[_FIRST + number % ROWS]) / 1e9

    def prepared(self, nanoseconds: int) -> None:
        self._table[_PREPARATION] += nanoseconds

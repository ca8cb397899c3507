"""Whether workers on other hosts help a stream: what a batch takes of this host's processors, made here and received
from there.

A far batch has to be decrypted, copied and checked here. Where that takes about as long as making one, far workers take
nothing off this host. What is received is first estimated, from what was measured at the start of the server.
"""

from __future__ import annotations

import sys
from statistics import median

from shared.layout import Layout
from shared.messages import Wrote

BATCHES = 10  # of each kind, before anything is said
WORTH = 3  # from so many times on far workers help: what is received has to be waited for, too


class Costs:
    """The processor time of the first batches of one stream, in microseconds.

    Args:
        receiving: what a byte is expected to take to receive; None where there will be no far workers.

    Attributes:
        worth: far workers help, as far as is known.
    """

    def __init__(self, receiving: float | None = None) -> None:
        self.worth = True
        self._receiving = receiving
        self._here: list[int] = []
        self._there: list[int] = []

    def add(self, wrote: Wrote, far: bool) -> str:
        """Returns the line to be said: once when it can be estimated, once when both are known; else ""."""
        kind = self._there if far else self._here
        if len(kind) == BATCHES:
            return ""
        kind.append(wrote.microseconds)
        if len(kind) < BATCHES or len(self._here) < BATCHES:
            return ""
        here = median(self._here)
        if len(self._there) == BATCHES:
            return self._judged(here, median(self._there), "and {} ms to receive from another: far workers")
        if self._receiving is None:
            return ""
        there = self._receiving * Layout.from_wire(wrote.layout, sys.maxsize).nbytes
        return self._judged(here, there, "and would take about {} ms to receive from another: far workers would")

    def _judged(self, here: float, there: float, compared: str) -> str:
        self.worth = here >= WORTH * there
        verdict = "help" if self.worth else f"hardly help, as making should take {WORTH} times as long"
        compared = compared.format(f"{there / 1000:.1f}")
        return f"a batch takes {here / 1000:.1f} ms of a processor of this host to make, {compared} {verdict}"

"""Whether workers on other hosts help a stream: what a batch takes of this host's processors, made here and received
from there.

A far batch has to be decrypted, copied and checked here. Where that takes about as long as making one, far workers take
nothing off this host.
"""

from __future__ import annotations

from statistics import median

BATCHES = 10  # of each kind, before anything is said
WORTH = 3  # from so many times on far workers help: what is received has to be waited for, too


class Costs:
    """The processor time of the first batches of one stream, in microseconds."""

    def __init__(self) -> None:
        self._here: list[int] = []
        self._there: list[int] = []

    def add(self, microseconds: int, far: bool) -> str:
        """Returns the line to be said, once both are known; "" before and after that."""
        kind = self._there if far else self._here
        if len(kind) == BATCHES:
            return ""
        kind.append(microseconds)
        if len(self._here) < BATCHES or len(self._there) < BATCHES:
            return ""
        here, there = median(self._here), median(self._there)
        verdict = "help" if here >= WORTH * there else f"hardly help, as making should take {WORTH} times as long"
        return (
            f"a batch takes {here / 1000:.1f} ms of a processor of this host to make, and {there / 1000:.1f} ms to "
            f"receive from another: far workers {verdict}"
        )

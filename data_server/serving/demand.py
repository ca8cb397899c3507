"""How many far workers a stream wants: what its batches tell, in windows of some dozens.

    at least half were waited for while all workers were at work ──► twice as many workers in all, when those that were
                                                                     asked for before are there
    hardly any was waited for, `CALM` windows in a row           ──► as many as were at work at a time
    otherwise                                                    ──► as before

Only batches are counted. A clock would take a trainer that evaluates for one that needs nothing; so everything stays
as it is until batches are read again.
"""

from __future__ import annotations

WINDOW = 32  # batches, and more where a window would not have some of each worker
CALM = 4  # a host that is given back too soon takes minutes to come again
_OF_EACH_WORKER = 2
_CALM_SHARE = 32  # one batch of so many may be waited for: a file that was not in the cache, a worker that died
_NEARLY = 0.9  # what is above a whole number by less than its complement comes of one batch or two


class Demand:
    """Of one stream.

    Args:
        here: workers on this host.
        most: far workers that there is room for.

    Attributes:
        wanted: far workers.
    """

    def __init__(self, here: int, most: int) -> None:
        self.wanted = 0
        self._here, self._most = here, most
        self._far = 0
        self._calm: list[int] = []  # what would have done, in each of the last windows
        self._begin()

    def _begin(self) -> None:
        self._batches = self._waited = self._busy = 0

    def delivered(self, *, waited: bool, busy: int) -> bool:
        """The trainer has been given a batch. Returns whether the window is full: `judge` is due.

        Args:
            waited: it waited for the batch while all workers were at work.
            busy: so many are at work now that the slot of an earlier one is being filled.
        """
        self._batches += 1
        self._waited += waited
        self._busy += busy
        return self._batches >= max(WINDOW, _OF_EACH_WORKER * (self._here + self._far))

    def judge(self, far: int, *, worth: bool) -> str:
        """Begins another window. Returns the line to be said where `wanted` changes, else "".

        Args:
            far: workers on other hosts that are there.
            worth: far workers help this stream.
        """
        self._far = far
        batches, waited, before = self._batches, self._waited, self.wanted
        enough = max(0, int(self._busy / batches + _NEARLY) - self._here)
        self._begin()
        if waited * _CALM_SHARE <= batches and enough < self.wanted:
            self._calm.append(enough)
        else:
            self._calm.clear()
        if not worth:
            self.wanted = 0
        elif 2 * waited >= batches and far >= self.wanted:
            self.wanted = min(self._most, self._here + 2 * far)
        elif len(self._calm) == CALM:
            self.wanted = max(self._calm)
            self._calm.clear()
        if self.wanted > before:
            return (
                f"{waited} of {batches} batches were waited for; {self.wanted} far workers are wanted now, not {before}"
            )
        return f"{self.wanted} far workers are wanted now, not {before}" if self.wanted < before else ""

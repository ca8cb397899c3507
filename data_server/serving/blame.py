"""How a worker died, and which samples are to blame.

    a worker dies over a sample ──► suspect: the batch is made again, that sample first and alone
        it dies again, through its own fault ──► poison: quarantined; the stream ends or the next sample takes its place

Its own fault is a crash (SIGSEGV, SIGABRT, ...), an exit, the kernel's out-of-memory killer, or that we had to kill it
because it took too much memory or time. A worker that somebody killed from outside proves nothing against its sample:
the batch is made again as often as that happens, up to a bound that only a systematic cause reaches.
"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass

MAX_KILLS = 20
_DEATHS_OF_POISON = 2
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}


@dataclass(frozen=True)
class Death:
    """How a worker ended: by a signal (its number, or 0), with an exit code, by the out-of-memory killer; `known` is
    False when nobody was left to report it. `verdict` is why we killed it, if we did."""

    signal: int = 0
    code: int = 0
    out_of_memory: bool = False
    known: bool = True
    verdict: str = ""

    @property
    def own_doing(self) -> bool:
        if self.verdict or not self.known:
            return bool(self.verdict)
        return self.out_of_memory or (self.signal not in _FROM_OUTSIDE and bool(self.signal or self.code))

    def __str__(self) -> str:
        if self.verdict:
            return f"was killed because {self.verdict}"
        if self.out_of_memory:
            return "was killed by the out-of-memory killer"
        if self.signal:
            return f"was killed by {signal.Signals(self.signal).name}"
        return f"ended with code {self.code}" if self.known else "died"


class Suspects:
    """The samples of one stream that workers have died over, by (step, place in the batch).

    Blame is kept for each occurrence of a sample by itself, so a replacement depends on nothing but the sample and its
    seed: a stream that is resumed or restarted finds the same ones.
    """

    def __init__(self) -> None:
        self._suspects: dict[int, tuple[int, int]] = {}  # step -> place of its suspect, workers it has killed
        self._kills: Counter[int] = Counter()
        self._moved: Counter[tuple[int, int]] = Counter()

    def suspect(self, step: int) -> int:
        """The place, counted from 1, of the sample of `step` to be tried first; 0 for none."""
        return self._suspects.get(step, (0, 0))[0]

    def indices(self, step: int, planned: tuple[int, ...], images: int) -> list[int]:
        """The data set's indices of a batch, with the next sample in the place of each that is poison."""
        if not self._moved:
            return list(planned)
        return [(index + self._moved[step, place]) % images for place, index in enumerate(planned, 1)]

    def blame(self, step: int, place: int, death: Death) -> bool:
        """A worker died over the sample at `place`, counted from 1 (0: over none). Returns whether that proves it."""
        self._kills[step] += 1
        if not place or not death.own_doing:
            return False
        suspect, deaths = self._suspects.get(step, (place, 0))
        deaths = deaths + 1 if suspect == place else 1  # a death over another sample clears the suspect
        self._suspects[step] = (place, deaths)
        return deaths == _DEATHS_OF_POISON

    def kills(self, step: int) -> int:
        """How many workers have died over the batch of `step`."""
        return self._kills[step]

    def replace(self, step: int, place: int) -> int:
        """From now on the next sample stands at `place`, innocent until it kills. Returns how far that is."""
        self._moved[step, place] += 1
        self.cleared(step)
        return self._moved[step, place]

    def cleared(self, step: int) -> None:
        """The batch of `step` has been made."""
        self._kills.pop(step, None)
        self._suspects.pop(step, None)

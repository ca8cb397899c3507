"""Ctrl-C, SIGTERM, SIGUSR1: end after the current step, with a checkpoint, or at once while there is nothing to save.

    at once    start-up, compiling, evaluation      everything that matters is on disk: the process just ends
    deferred   training steps                       the current step is finished, a checkpoint written
    waiting    for a batch, inside the deferred     no step is under way: the wait ends, a checkpoint is written

The exit code is 0 after SIGTERM and SIGUSR1 and 130 after Ctrl-C, whatever was going on. Slurm and mpirun pass SIGUSR1
on to their processes, and leave them all the time they need.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from trainer.process.signal_exit import leave_at

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(Exception):
    """A signal came while no step was under way."""


class Interrupt:
    """Which signal, if any, has asked the training to end. Create it first of all."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._waiting = False
        self.end_at_once()

    def end_at_once(self) -> None:
        """From now on a signal ends the process."""
        for number in _SIGNALS:
            leave_at(number)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal is only noted in `signal`; a second one ends the process."""
        for number in _SIGNALS:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            self.end_at_once()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, within `deferred`, a signal, or one noted before, raises Interrupted."""
        self._waiting = True
        try:
            if self.signal is not None:
                raise Interrupted
            yield
        finally:
            self._waiting = False

    def _note(self, number: int, _: object) -> None:
        self.signal = signal.Signals(number)
        self.end_at_once()
        if self._waiting:
            raise Interrupted

"""Ctrl-C and SIGTERM: end after the step in hand, with a checkpoint, or at once while there is nothing to save.

Python runs a signal handler only between two of its own instructions, and Jittor may compile for minutes inside one. So
signals are deferred only while a step takes less than a moment; while kernels are compiled, with nothing yet to save,
the kernel's own default ends the process at once.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Which signal, if any, has asked the training to end."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.end_at_once()

    def end_at_once(self) -> None:
        """From now on a signal kills."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal is only noted in `signal`; a second one kills."""
        for number in _SIGNALS:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            self.end_at_once()

    def _note(self, number: int, _: object) -> None:
        self.signal = signal.Signals(number)
        self.end_at_once()

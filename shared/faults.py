"""Fault points: named places where a test makes a process die, stop or end.

    FAULT=worker.sealed:3          each process that comes to the point for the third time kills itself
    FAULT=client.lease:1:SIGTERM   ... sends itself that signal instead of SIGKILL

They mark every step of the protocol, on both sides. Without FAULT in the environment a point is the call of an empty
function.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def armed(fault: str) -> Callable[[str], None]:
    """The function that acts on a FAULT of this form."""
    wanted, times, *name = fault.split(":")
    number = signal.Signals[name[0] if name else "SIGKILL"]
    left = int(times)

    def reach(point: str) -> None:
        nonlocal left
        if point == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    return reach


def _disarmed(_: str) -> None:
    """Called at every fault point."""


reach = armed(os.environ["FAULT"]) if "FAULT" in os.environ else _disarmed

"""Processes that try something out before the work begins, and are put an end to when they take too long.

fork ──► tries ──► done, dead, or out of time ──► SIGKILL ──► reaped; or left alone, while its disk does not answer
"""

from __future__ import annotations

import os
import select
import signal

_DYING_SECONDS = 2.0


def end(child: int) -> None:
    """Kills a child of this process, if it lives, and reaps it.

    A process that waits for a dead mount hears of SIGKILL only when that answers. It is not waited for: it may stay for
    as long as it has to.
    """
    pidfd = os.pidfd_open(child)
    os.kill(child, signal.SIGKILL)
    if select.select([pidfd], [], [], _DYING_SECONDS)[0]:
        os.waitpid(child, 0)
    os.close(pidfd)

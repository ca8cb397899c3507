"""Processes that try something out before the work begins, and are put an end to when they take too long.

begin ──fork──► tries ──► done, dead, or out of time ──► SIGKILL ──► reaped; or left alone, while its disk hangs
                  └─ pipe ──► answer
"""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_server.machine.memory import available
from data_server.machine.process_memory import data_bytes
from shared.lifetime import die_with_parent

_CPU_SECONDS = 60
_DYING_SECONDS = 2.0
_READ_BYTES = 1 << 16

Say = Callable[[bytes], None]


@dataclass(frozen=True)
class Trial:
    """A process that tries something out.

    Attributes:
        pid: of the process.
        pipe: what it says comes from this descriptor.
    """

    pid: int
    pipe: int

    def answer(self, patience: Callable[[], float]) -> bytes:
        """All that it says; what it has said by then where it dies, or is silent for `patience()` seconds, which is
        asked before each word. The process is no more, afterwards, but for one that a dead disk holds."""
        said = b""
        while select.select([self.pipe], [], [], patience())[0] and (data := os.read(self.pipe, _READ_BYTES)):
            said += data
        os.close(self.pipe)
        self._end()
        return said

    def _end(self) -> None:
        """Kills the process, if it lives, and reaps it.

        A process that waits for a dead mount hears of SIGKILL only when that answers. It is not waited for: it may stay
        for as long as it has to.
        """
        pidfd = os.pidfd_open(self.pid)
        os.kill(self.pid, signal.SIGKILL)
        if select.select([pidfd], [], [], _DYING_SECONDS)[0]:
            os.waitpid(self.pid, 0)
        os.close(pidfd)


def patience(config: dict[str, Any], most: float) -> float:
    """After how many seconds without a word a trial of the stream `config` is given up: `most`, or ten times what an
    image may take where that is less."""
    return min(most, 10 * config["feed"]["image_seconds"] or most)


def begin(attempt: Callable[[Say], None]) -> Trial:
    """Forks a process that makes `attempt`, which is given what says something. What that raises ends the process and
    is not judged: what a stream does in earnest will name it."""
    reader, writer = os.pipe()
    parent = os.getpid()
    if pid := os.fork():
        os.close(writer)
        return Trial(pid, reader)
    try:
        die_with_parent(parent)
        os.close(reader)
        _limit_this_process()
        with os.fdopen(writer, "wb") as pipe:

            def say(data: bytes) -> None:
                pipe.write(data)
                pipe.flush()

            attempt(say)
    finally:
        os._exit(0)


def _limit_this_process() -> None:
    """An image that makes its pipeline run or grow for ever must not do it here, where no server is watching yet."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    data = data_bytes() + available() // 2
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))

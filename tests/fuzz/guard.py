"""What no decoder may do, whatever bytes it is given, and the means to see it.

    raise anything but its documented errors     the exception goes through
    take more than 1 MiB                         tracemalloc's peak above what was held before; numpy reports to it, too
    unpickle, compile, execute or import         audit events of the interpreter
    hang                                         an alarm that prints all stacks and kills the process, C code or not

An audit hook can never be taken away again; outside `watched` it looks at nothing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import sys
import tracemalloc
from collections.abc import Iterator

MAX_BYTES = 1 << 20
HANG_SECONDS = 5
FORBIDDEN = {
    *("pickle.find_class", "marshal.load", "marshal.loads", "compile", "exec", "import", "ctypes.dlopen"),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"),
}


class Forbidden(Exception):
    """A decoder did what no decoder may do."""


class TooMuch(Forbidden):
    """It took more memory than it may."""


_watching = False
_seen: list[str] = []


def _hook(event: str, arguments: tuple) -> None:
    if _watching and event in FORBIDDEN:
        _seen.append(f"{event}{arguments!r}")


def install() -> None:
    """Once in a process."""
    sys.addaudithook(_hook)


def kill_when_hanging() -> None:
    """From now on, an alarm ends the process with all its stacks. Only in a process of one's own."""
    faulthandler.register(signal.SIGALRM, chain=True)


@contextlib.contextmanager
def watched(*, alarm: bool = False) -> Iterator[None]:
    """Watches what happens inside; turns tracemalloc on where it is not. `alarm`: after `kill_when_hanging`.

    Raises:
        Forbidden: what was done inside is forbidden.
    """
    global _watching
    _seen.clear()
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    if alarm:
        signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    _watching = True
    try:
        yield
    finally:
        _watching = False
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        taken = tracemalloc.get_traced_memory()[1] - before
        if not traced:
            tracemalloc.stop()
    if _seen:
        raise Forbidden(f"audit events: {_seen}")
    if taken > MAX_BYTES:
        raise TooMuch(f"{taken} bytes taken")

"""What a process holds in memory, as ``/proc/<pid>`` reports it."""

from __future__ import annotations

import os
from pathlib import Path

from data_server.machine.fields import numbers

_PAGE = os.sysconf("SC_PAGESIZE")


def private_bytes(process: int | str = "self") -> int:
    """Memory that a process shares with no other; pages of files that it has only read are not its own."""
    (private,) = numbers(f"/proc/{process}/smaps_rollup", "Private_Dirty")
    return private


def given_back_bytes(process: int | str = "self") -> int:
    """How far what a process holds now lies below the most that it has held."""
    most, now = numbers(f"/proc/{process}/status", "VmHWM", "VmRSS")
    return max(0, most - now)


def data_bytes(process: int | str = "self") -> int:
    """The address space that counts against a process' RLIMIT_DATA: all private memory that it may write to."""
    (data,) = numbers(f"/proc/{process}/status", "VmData")
    return data


def anonymous_bytes(process: int) -> int:
    """Memory of a process that is neither a file's nor an arena's, as `Anonymous` has it."""
    return _anonymous(Path(f"/proc/{process}/statm").read_bytes())


class Anonymous:
    """Memory of a process that is neither a file's nor an arena's. Quick to ask again and again, but counts what the
    process shares with the one it was forked from. Raises OSError when there is no such process, or no descriptor
    left."""

    def __init__(self, process: int | str = "self") -> None:
        self._statm = os.open(f"/proc/{process}/statm", os.O_RDONLY)

    def bytes(self) -> int:
        """0 once the process is dead, even if another has its number by now."""
        try:
            return _anonymous(os.pread(self._statm, 256, 0))
        except ProcessLookupError:
            return 0

    def close(self) -> None:
        os.close(self._statm)


def _anonymous(statm: bytes) -> int:
    _, resident, shared, *_ = statm.split()
    return (int(resident) - int(shared)) * _PAGE

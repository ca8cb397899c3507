"""What a process holds in memory, as ``/proc/<pid>`` tells."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGESIZE")


def private_bytes() -> int:
    """Memory that this process shares with no other; pages of files that it has only read are not its own."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/smaps_rollup has no Private_Dirty")


class Anonymous:
    """Memory of this process that is neither a file's nor an arena's. Quick to ask again and again, but counts what the
    process shares with the one it was forked from."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def bytes(self) -> int:
        _, resident, shared, *_ = os.pread(self._statm, 256, 0).split()
        return (int(resident) - int(shared)) * _PAGE


def status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")

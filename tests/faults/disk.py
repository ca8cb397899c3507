"""A disk that fails on demand, for all processes that have `Disk.environment`: the tests' end of disk.cpp.

A `Point` is the k-th call of one operation on one file. A file whose name differs from run to run (a number of a
process, a random part) is known by a pattern. Paths begin at the folder that has the roots: points fit every disk.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".cpp")
_ROOTS, _PATH = 4, 1024
# Of Python's tempfile, random names and the numbers of files without a name; of TensorBoard's events, time, host and
# process; numbers of processes.
_CHANGING = re.compile(
    r"(?<=/#)\d+(?= \(deleted\)$)|(?<=tmp)[a-z0-9_]{8}|(?<=-)[a-z0-9_]{8}(?=$|/)|(?<=/tmp/)[a-z0-9_]{8}$"
    r"|(?<=tfevents\.).*"
)
_WILD = re.compile(r"[][*?]")


@dataclass(frozen=True)
class Fault:
    """What a call meets.

    Attributes:
        number: the errno; 0: the process is killed.
        stays: for all that lies on the same disk from then on.
        spares: operations that it does not meet.
    """

    name: str
    number: int
    stays: bool
    spares: tuple[str, ...] = ()


FAULTS = (
    Fault("disk full", errno.ENOSPC, True, ("unlink", "truncate")),
    Fault("read-only", errno.EROFS, True),
    Fault("input/output error", errno.EIO, False),
    Fault("kill", 0, False),
)


@dataclass(frozen=True)
class Point:
    """The `at`-th `operation` on the file that `pattern` fits."""

    operation: str
    pattern: str
    at: int

    def __str__(self) -> str:
        return f"{self.operation} {self.at} of {self.pattern}"


class _Control(ctypes.Structure):
    """As in disk.cpp."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("armed", "fault", "at", "stays", "leader", "seen", "fired", "root")),
        ("operation", ctypes.c_char * 16),
        ("pattern", ctypes.c_char * _PATH),
        ("log", ctypes.c_char * _PATH),
        ("roots", ctypes.c_char * _PATH * _ROOTS),
    ]


class Disk:
    """What lies under `roots`, each a disk of its own.

    Args:
        folder: has the roots, and gets the library and notes.
    """

    def __init__(self, folder: Path, *roots: Path) -> None:
        library, control = folder / "disk.so", folder / "control"
        subprocess.run(["g++", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        control.write_bytes(bytes(ctypes.sizeof(_Control)))
        self._log = folder / "calls"
        self._log.touch()
        with control.open("r+b") as file:
            self._control = _Control.from_buffer(mmap.mmap(file.fileno(), 0))
        self._control.log = os.fsencode(self._log)
        for number, root in enumerate(roots):
            self._control.roots[number].value = os.fsencode(root)
        self.folder, self.roots = folder, roots
        self.environment = {"LD_PRELOAD": str(library), "FAULTS_CONTROL": str(control)}

    def listen(self, leader: int = 0) -> None:
        """Notes calls and fails none; forgets what was noted. From now on only process `leader`, if given, can meet a
        fault."""
        self._control.armed = 0
        self._control.leader = leader
        os.truncate(self._log, 0)

    def arm(self, point: Point, fault: Fault) -> None:
        """From now on `point` meets `fault`."""
        self.listen(self._control.leader)
        self._control.seen = self._control.fired = 0
        self._control.fault, self._control.stays = fault.number, fault.stays
        self._control.operation = point.operation.encode()
        self._control.pattern = os.fsencode(f"{self.folder}{point.pattern}")
        self._control.at = point.at
        self._control.armed = 1

    @property
    def fired(self) -> bool:
        """Whether the point was reached."""
        return bool(self._control.fired)

    def calls(self, process: int = 0) -> list[tuple[str, str]]:
        """The operations noted, with their files; only those of `process`, if given."""
        lines = (line.split("\t") for line in self._log.read_text(errors="surrogateescape").splitlines())
        start = len(str(self.folder))
        return [(operation, path[start:]) for pid, operation, path in lines if process in (0, int(pid))]


def points(calls: list[tuple[str, str]]) -> list[Point]:
    """All points at which the run that made these `calls` can meet a fault, in the order of the calls."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for operation, path in calls:
        one = operation, pattern_of(path)
        seen[one] += 1
        found.append(Point(*one, seen[one]))
    return found


def pattern_of(path: str) -> str:
    """That of the files which are this one in another run."""
    return _CHANGING.sub("*", _WILD.sub("?", path))

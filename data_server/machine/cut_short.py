"""Files that became shorter while they were mapped into memory: an index, proposals, an annotation file.

    file   ██████████████████──────────   somebody wrote over it in its place, or cut it
    map    ████████████████████████████
                             ▲ whoever reads here gets SIGBUS

Nothing of ours does that to a file that others may have mapped: files appear by renaming, and are removed whole. What
somebody else does cannot be prevented, so it gets a line that names the file, and the process ends: what it has read
may have been wrong already. Python cannot handle such a signal, which comes again as soon as a handler returns, so the
handler is called by libc, ends the process by itself, and needs nothing of what was under way.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

_READ_AND_SHARED = "r--s"  # as numpy and mmap.ACCESS_READ map
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_installed: list[Any] = []  # libc does not keep a handler alive


def cut_short() -> str:
    """A line about the files of which this process has mapped more than there is; empty where there is none."""
    files = sorted({*_shortened(Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape"))})
    if not files:
        return ""
    named = ", ".join(map(repr, files))
    return f"cut short while in use: {named}; put another file in the place of one that is in use, never write over it"


def end_with_a_line(say: Callable[[str], object], code: int) -> None:
    """From now on, to read what a file lacks by now ends this process with exit code `code`, after `say` was given the
    line. SIGBUS for other causes is what it always was."""

    def handle(number: int) -> None:
        if text := cut_short():
            with contextlib.suppress(Exception):  # nobody listens any more
                say(text)
            os._exit(code)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # is delivered when this returns

    _installed[:] = [_Handler(handle)]
    ctypes.CDLL(None).signal(signal.SIGBUS, *_installed)


def _shortened(maps: str) -> list[str]:
    found = []
    for line in maps.splitlines():
        addresses, permissions, offset, _, inode, *path = line.split(maxsplit=5)
        if permissions != _READ_AND_SHARED or not path:
            continue
        start, end = (int(one, 16) for one in addresses.split("-"))
        with contextlib.suppress(OSError):  # removed, or no file: nobody can cut it by its name
            status = os.stat(path[0])
            pages = -(-status.st_size // mmap.PAGESIZE) * mmap.PAGESIZE
            if status.st_ino == int(inode) and int(offset, 16) + end - start > pages:
                found.append(path[0])
    return found

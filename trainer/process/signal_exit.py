"""Ends the process at a signal even while Jittor compiles: a signal handler in C.

Python runs a handler only between two of its own instructions, and Jittor may compile for minutes inside one. So this
handler is a page of C beside this module, built once by the compiler that Jittor needs anyway:

    signal ──► SIGTERM to every descendant (compilers, the embedded data server) ──► _exit(0), for SIGINT _exit(130)

It calls nothing but system calls, as a handler must.
"""

from __future__ import annotations

import ctypes
import hashlib
import signal
import subprocess
import tempfile
from pathlib import Path

from shared.contents import cache_folder

_SOURCE = Path(__file__).with_suffix(".c")
_library: ctypes.CDLL | None = None


def leave_at(number: int) -> None:
    """From now on signal `number` ends this process at once, with exit code 0, or 130 for SIGINT.

    If the handler cannot be built (no compiler, no place for it), the kernel's own default ends the process.
    """
    global _library
    if _library is None:
        try:
            _library = ctypes.CDLL(str(_built()))
        except (OSError, RuntimeError, subprocess.SubprocessError):  # RuntimeError: there is no home directory
            signal.signal(number, signal.SIG_DFL)
            return
    signal.signal(number, signal.SIG_DFL)  # or Python's own handler would be called by what it remembers of it
    _library.leave_at(number)


def _built() -> Path:
    """The shared library, from this user's cache or built now.

    Raises:
        OSError, RuntimeError, SubprocessError: it cannot be built.
    """
    name = f"signal_exit-{hashlib.blake2b(_SOURCE.read_bytes(), digest_size=8).hexdigest()}.so"
    folder = cache_folder()
    library = folder / name
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / name
            command = ["g++", "-x", "c", "-O1", "-shared", "-fPIC", "-o", str(made), str(_SOURCE)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            made.replace(library)
    return library

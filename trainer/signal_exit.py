"""Ends the process at a signal even while Jittor compiles: a signal handler in C.

Python runs a handler only between two of its own instructions, and Jittor may compile for minutes inside one. So this
handler is a dozen lines of C, built once by the compiler that Jittor needs anyway:

    signal ──► SIGTERM to every descendant (compilers, the embedded data server) ──► _exit(0), for SIGINT _exit(130)

It calls nothing but system calls, as a handler must.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

_SOURCE = r"""
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static char *append(char *end, const char *text) {
    while (*text) *end++ = *text++;
    *end = 0;
    return end;
}

static char *append_number(char *end, int number) {
    char digits[12];
    int count = 0;
    do digits[count++] = '0' + number % 10; while (number /= 10);
    while (count) *end++ = digits[--count];
    *end = 0;
    return end;
}

static void end_children(int process) {
    char path[64], list[4096];
    char *end = append_number(append(path, "/proc/"), process);
    append(append_number(append(end, "/task/"), process), "/children");
    int file = open(path, O_RDONLY);
    if (file < 0) return;
    int length = read(file, list, sizeof list);
    close(file);
    int child = 0;
    for (int i = 0; i < length; i++) {
        if (list[i] >= '0' && list[i] <= '9') {
            child = child * 10 + list[i] - '0';
        } else if (child) {
            end_children(child);
            kill(child, SIGTERM);
            child = 0;
        }
    }
}

static void leave(int number) {
    end_children(getpid());
    _exit(number == SIGINT ? 128 + SIGINT : 0);
}

void leave_at(int number) { signal(number, leave); }
"""
_library: ctypes.CDLL | None = None


def leave_at(number: int) -> None:
    """From now on signal `number` ends this process at once, with exit code 0, or 130 for SIGINT.

    Where the handler cannot be built (no compiler, no place for it), the kernel's own default ends the process.
    """
    global _library
    if _library is None:
        try:
            _library = ctypes.CDLL(str(_built()))
        except (OSError, subprocess.SubprocessError):
            signal.signal(number, signal.SIG_DFL)
            return
    signal.signal(number, signal.SIG_DFL)  # or Python's own handler would be called by what it remembers of it
    _library.leave_at(number)


def _built() -> Path:
    """The shared library, from this user's cache or built now.

    Raises:
        OSError, SubprocessError: it cannot be built.
    """
    name = f"signal_exit-{hashlib.blake2b(_SOURCE.encode(), digest_size=8).hexdigest()}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unidetector"
    library = folder / name
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source, made = Path(scratch) / "signal_exit.c", Path(scratch) / name
            source.write_text(_SOURCE)
            command = ["g++", "-x", "c", "-O1", "-shared", "-fPIC", "-o", made, source]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            made.replace(library)
    return library

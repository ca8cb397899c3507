"""Ends the process at a signal even while Jittor compiles: a signal handler in C.

Python runs a handler only between two of its own instructions, and Jittor may compile for minutes inside one. So this
handler is a page of C, built once by the compiler that Jittor needs anyway:

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
#include <sys/syscall.h>
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

static void end_children(int process);

static void end_children_of_thread(char *path, char *end, const char *thread) {
    char list[4096];
    append(append(end, thread), "/children");
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

/* Children are listed by the thread that made them. */
static void end_children(int process) {
    char path[96], entries[2048];
    char *end = append(append_number(append(path, "/proc/"), process), "/task/");
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    if (folder < 0) return;
    for (long length; (length = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0;) {
        for (char *entry = entries; entry < entries + length; entry += *(unsigned short *)(entry + 16)) {
            const char *name = entry + 19; /* struct linux_dirent64: inode 8, offset 8, length 2, type 1, name */
            if (*name >= '0' && *name <= '9') end_children_of_thread(path, end, name);
        }
    }
    close(folder);
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

    If the handler cannot be built (no compiler, no place for it), the kernel's own default ends the process.
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

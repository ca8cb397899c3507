"""Files that may be read to their end: regular ones.

A name in an annotation file, or on a command line, can lead anywhere. A device such as /dev/zero has no end, a named
pipe blocks whoever opens it, and what is read of a regular file has the size that the file has when it is opened, even
if it grows meanwhile.
"""

from __future__ import annotations

import os
import stat

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def unfit(path: str | os.PathLike[str]) -> str | None:
    """What `path` is instead of a regular file; None for one, and for a path where nothing is."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return _unfit(mode)


def _unfit(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    kind = next((name for is_one, name in _KINDS if is_one(mode)), "no regular file")
    return f"it is {kind}; expected a regular file"


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: there is none, or it is something else.
    """
    if fault := unfit(path):  # before it is opened, which alone makes some devices act
        raise OSError(f"file {str(path)!r}: {fault}")
    # Another may lie there by now, and must not make us wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if fault := _unfit(status.st_mode):
            raise OSError(f"file {str(path)!r}: {fault}")
        return file.read(status.st_size)

"""What files hold, as digests that are computed once.

    ~/.cache/unidetector/contents/KEY    FOUND CHECK        (or below XDG_CACHE_HOME)

KEY is of the device, inode, size, mtime and ctime of a file, or of several; FOUND is its digest, or another word about
them; CHECK is of KEY and FOUND. An edit changes the ctime, which nobody can set, even where size and mtime are put
back. What was found in a file that was changed within the last seconds is not kept: a clock's tick could hide another
edit. Where nothing can be written, every file is read every time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import xxhash

from shared.files import replace

FRESH_NS = 2_000_000_000  # file systems and networks tell times at least as finely as this
_STEP = 1 << 18

Signature = tuple[int, int, int, int, int]


def cache_folder() -> Path:
    """What may be removed at any time. Raises RuntimeError where there is no home directory."""
    root = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "unidetector"


def signature(descriptor: int) -> Signature:
    """Of an open file: device, inode, size, mtime and ctime."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def digest(descriptor: int) -> str:
    """xxh3_128 of all bytes of an open file: 32 hexadecimal digits. Raises OSError where it cannot be read."""

    def read() -> str:
        content, at = xxhash.xxh3_128(), 0
        while data := os.pread(descriptor, _STEP, at):
            content.update(data)
            at += len(data)
        return content.hexdigest()

    return once([descriptor], read)


def once(descriptors: Sequence[int], look: Callable[[], str]) -> str:
    """What `look`, which reads open files, says of them in a word without spaces; it is called once, until one of them
    changes. Raises what `look` raises; nothing is kept then."""
    before = [signature(one) for one in descriptors]
    key = xxhash.xxh3_128(repr(before).encode()).hexdigest()
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        found, check = (cache_folder() / "contents" / key).read_text(encoding="ascii").split()
        if check == _check(key, found):
            return found
    found = look()
    changed = max((ctime for *_, ctime in before), default=0)
    if [signature(one) for one in descriptors] == before and abs(time.time_ns() - changed) > FRESH_NS:
        with contextlib.suppress(OSError, RuntimeError):
            place = cache_folder() / "contents" / key
            place.parent.mkdir(parents=True, exist_ok=True)
            replace(place, f"{found} {_check(key, found)}".encode())
    return found


def file_digest(path: str) -> str:
    """`digest` of the file at a path."""
    with open(path, "rb") as file:
        return digest(file.fileno())


def _check(key: str, found: str) -> str:
    return xxhash.xxh3_64(f"{key} {found}".encode()).hexdigest()

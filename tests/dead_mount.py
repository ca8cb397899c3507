"""A file system of one file whose reads are never answered, as of a server that is gone; for tests that root runs.

    reader ──read──► kernel ──request──► a process of ours: answers everything but READ

With `stopped` that process takes no request any more: the kernel lets a reader that waits so be killed. Else it takes
the request and keeps silent; such a reader cannot be killed before the mount is gone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.lifetime import die_with_parent

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _INIT, _INTERRUPT, _BATCH_FORGET = 1, 2, 3, 14, 15, 26, 36, 42
_UNANSWERED = (_FORGET, _READ, _INTERRUPT, _BATCH_FORGET)
_MNT_DETACH = 2
_FILE = 2  # its node; the root's is 1
_VALID = 3600  # seconds
_NO_FLUSH = 1 << 5  # a process that ends would have to wait for that, too
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def dead_mount(folder: Path, name: str, size: int, stopped: bool) -> Iterator[Path]:
    """The path of the file, which looks like one of `size` bytes; skips the test where nothing may be mounted."""
    folder.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if _LIBC.mount(b"dead", os.fsencode(folder), b"fuse", 0, options):
        os.close(device)
        pytest.skip(f"nothing can be mounted here: {os.strerror(ctypes.get_errno())}")
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            die_with_parent(parent)
            _serve(device, name.encode(), size, stopped)
        finally:
            os._exit(1)
    os.close(device)
    try:
        yield folder / name
    finally:
        os.kill(child, signal.SIGKILL)  # with it the device is closed, and all who wait get an error
        os.waitpid(child, 0)
        _LIBC.umount2(os.fsencode(folder), _MNT_DETACH)


def _serve(device: int, name: bytes, size: int, stopped: bool) -> None:
    while True:
        request = os.read(device, 1 << 18)
        _, kind, unique, node = struct.unpack_from("<IIQQ", request)
        body, fault = b"", 0
        if kind == _INIT:
            body = struct.pack("<4I2H2I2H32x", 7, 23, 0, 0, 1, 1, 4096, 1, 1, 0)
        elif kind == _LOOKUP and request[40:-1] == name:
            body = struct.pack("<4Q2I", _FILE, 1, _VALID, _VALID, 0, 0) + _attributes(_FILE, size)
        elif kind == _LOOKUP:
            fault = -errno.ENOENT
        elif kind == _GETATTR:
            body = struct.pack("<Q2I", _VALID, 0, 0) + _attributes(node, size)
        elif kind == _OPEN:
            body = struct.pack("<Q2I", 0, _NO_FLUSH, 0)
        elif kind in _UNANSWERED:
            continue
        else:
            fault = -errno.ENOSYS
        os.write(device, struct.pack("<IiQ", 16 + len(body), fault, unique) + body)
        if stopped and kind == _OPEN:
            signal.pause()


def _attributes(node: int, size: int) -> bytes:
    mode = 0o100644 if node == _FILE else 0o40755
    return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

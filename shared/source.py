"""Where the bytes of a file come from, whoever asks for them: all of MMDetection's transforms, checks, reports.

    images/000001.jpg              a regular file (`shared.regular`)
    images/train.zip/000001.jpg    a member of an archive (`shared.archives`)
    http://host/000001.jpg         a server, asked again where it does not answer

Anything else, such as lmdb, is what the transforms' own ``backend_args`` say, and MMEngine's.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import time
import urllib.error
import urllib.request
from typing import Any, BinaryIO

from shared import archives, regular
from shared.errors import described
from shared.pictures import ends_early

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5  # doubled from one attempt to the next
SILENT_SECONDS = 30.0
MOST_SECONDS = 120.0  # of an attempt, and what a slow line takes for what has come
_SLOWEST = 1 << 16  # bytes a second
_GONE = (404, 410)
_BUSY = (408, 425, 429)  # and all from 500 on
_PIECE = 1 << 20


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of a file of this machine, in an archive or not, or of what lies behind an address.

    Raises:
        OSError: there is none, it is not regular, damaged in its archive, or cannot be fetched.
    """
    if is_address(path):
        return fetch(os.fspath(path))
    found = archives.member(path)
    return found.read() if found else regular.read(path)


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """A file of this machine at its beginning, of which only what is asked for is read, unless it is in an archive.
    Raises what `read` raises."""
    found = archives.member(path)
    return io.BytesIO(found.read()) if found else open(path, "rb")


def size(path: str | os.PathLike[str]) -> int | None:
    """In bytes; None where `path` leads to no file of this machine."""
    try:
        found = archives.member(path)
        return found.size() if found else os.path.getsize(path)
    except OSError:
        return None


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether it leads to another machine."""
    return "://" in os.fspath(path)


def has_backend(backend_args: dict[str, Any] | None) -> bool:
    """Whether one of MMEngine's backends is to read, for which a path is a key."""
    return bool((backend_args or {}).get("backend", "local") != "local")


def is_remote(path: str, backend_args: dict[str, Any] | None) -> bool:
    """Whether it is not read from this machine."""
    return is_address(path) or has_backend(backend_args)


def joined(folder: str, name: str) -> str:
    """`name` below `folder`, unless it is absolute or an address."""
    return name if is_address(name) else os.path.join(folder, name)


def is_there(path: str) -> bool:
    """Whether it is a file, or an address, behind which nobody looks before it is needed."""
    if is_address(path):
        return True
    return os.path.isfile(path) if archives.member(path) is None else size(path) is not None


def fetch(url: str) -> bytes:
    """The content behind an address.

    Raises:
        FileNotFoundError: the server has none.
        OSError: it refuses, or has not answered after `ATTEMPTS`, or a JPEG arrives incomplete.
    """
    fault: Exception = OSError()
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            return _fetched(url)
        except urllib.error.HTTPError as error:
            if error.code in _GONE:
                raise FileNotFoundError(f"{url}: {error.code} {error.reason}") from None
            if error.code < 500 and error.code not in _BUSY:
                raise OSError(f"{url}: the server answers {error.code} {error.reason}") from None
            fault = error
        except (OSError, http.client.HTTPException) as error:
            fault = error
    raise OSError(f"{url}: {ATTEMPTS} attempts, the last: {described(fault)}")


def _fetched(url: str) -> bytes:
    began, arrived, pieces = time.monotonic(), 0, []
    with urllib.request.urlopen(url, timeout=SILENT_SECONDS) as answer:
        while piece := answer.read1(_PIECE):
            pieces.append(piece)
            arrived += len(piece)
            if (seconds := time.monotonic() - began) > MOST_SECONDS + arrived / _SLOWEST:
                raise TimeoutError(f"not whole after {seconds:.0f} s")
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
    content = b"".join(pieces)
    with contextlib.suppress(OSError):  # shorter than an end marker
        if fault := ends_early(io.BytesIO(content)):
            raise http.client.HTTPException(fault)
    return content

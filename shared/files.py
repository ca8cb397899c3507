"""Files that are written whole or not at all.

    .NAME.partial in the same folder -> fsync -> rename to NAME -> fsync of the folder

Whenever a kill or a power cut comes, NAME has its old content or all of the new one. What a kill leaves behind is a
hidden partial file, which the next attempt overwrites. Two processes that write the same file do so one after the
other.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from shared.errors import UserError

ELSEWHERE = "free some space, or choose another --work-dir"
ANOTHER_OUT = "free some space, or choose another --out"


@contextlib.contextmanager
def whole(path: Path, partial: str | None = None) -> Iterator[BinaryIO]:
    """A new file to write to, which becomes `path` when the block ends, and is gone when the block raises.

    Args:
        partial: the name of the file that grows. By default it is made of `path`'s, so that writers of several files
            in one folder do not meet; a writer whose file names change from one attempt to the next gives one of its
            own, so that what a kill leaves behind is still overwritten.

    Raises:
        OSError: the file cannot be written.
    """
    growing = path.with_name(partial or f".{path.name}.partial")
    with _alone(growing) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            settle(growing, path)
        except BaseException:
            growing.unlink(missing_ok=True)
            raise


def settle(growing: Path, path: Path) -> None:
    """Gives a file that is on the disk its name, for good."""
    os.replace(growing, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _alone(path: Path) -> BinaryIO:
    """Opens `path` for this process alone; waits while another has it."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "w+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        file.close()  # the other process has given it its name, or removed it


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same `path`, a file that stays. Raises OSError."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_at(file: int, data: bytes, place: int) -> None:
    """Writes all of `data` at byte `place`. Raises OSError."""
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, place)
        left, place = left[written:], place + written


def replace(path: Path, content: bytes, partial: str | None = None) -> None:
    """Writes `content` as `whole` does, at once."""
    with whole(path, partial) as file:
        file.write(content)


def save(path: Path, content: bytes, remedy: str = ELSEWHERE) -> None:
    """Writes a file of results, as `whole` does, into a folder that is made where it is missing.

    Raises:
        UserError: it cannot be written; `remedy` says what to do.
    """
    with reported(path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)


def expect(path: Path, remedy: str = ELSEWHERE) -> None:
    """Says before a long job what `save` would say after it. A mistake that ends the job leaves no empty folder behind.

    Raises:
        UserError: `path` cannot be written.
    """
    with reported(path, remedy):
        made = [folder for folder in path.absolute().parents if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            tempfile.TemporaryFile(dir=path.parent).close()
        finally:
            for folder in filter(Path.exists, made):
                folder.rmdir()


@contextlib.contextmanager
def reported(path: Path, remedy: str = ELSEWHERE) -> Iterator[None]:
    """Inside, what keeps a file, or a folder of files, from being written becomes a line for the user.

    Raises:
        UserError: in place of an OSError; `remedy` says what to do.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error

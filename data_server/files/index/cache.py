"""Where indexes are kept, and how the index of a file is found or made.

    ~/.cache/unidetector/index/      (or below XDG_CACHE_HOME)
      CONTENT/                       columns (`data_server.files.index.columns`); CONTENT is the digest of the file's
                                     bytes, its size and the version of the format
      CONTENT.unfit                  why the file is not taken in
      CONTENT.making/                while one process makes it; others wait for CONTENT.lock, which stays

    file ──stat──► digest known (`shared.contents`)? ──yes──► CONTENT/ is mapped: not one byte of the file is read
                     │ no
                     └─ all bytes hashed ─► CONTENT/ there? ──yes──► mapped (a copy of the file, a touched one)
                                              │ no, or damaged
                                              └─ made under the lock, renamed when it is whole

Indexes are removed, the longest unused first, when all together exceed `MOST_BYTES`; whoever has one mapped keeps it.
Where nothing can be written, the index is made in a temporary folder, and removed as soon as it is mapped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from data_server.files.index import coco
from data_server.files.index.columns import FORMAT, HEADER, Columns, Damaged
from data_server.files.index.json_pieces import Unfit, record
from shared.contents import Signature, cache_folder, digest, signature
from shared.errors import UserError
from shared.files import replace

MOST_BYTES = 32 << 30
_AT_A_TIME = 1 << 10  # records
_QUIET_SECONDS = 3.0  # what takes less needs no word
_BETWEEN_SECONDS = 5.0

Say = Callable[[str], None]


class Index:
    """The index of an annotation file, and the file itself, open.

    Attributes:
        columns: see `data_server.files.index.coco`.
        path: the file.
    """

    def __init__(self, columns: Columns, path: Path, descriptor: int) -> None:
        self.columns = columns
        self.path = path
        self._descriptor = descriptor
        self._signature = signature(descriptor)

    def __deepcopy__(self, _memo: object) -> Index:
        return self  # mapped, and never written to

    def record(self, kind: str, row: int) -> bytes:
        """The text of a record in the file.

        Args:
            kind: ``image`` or ``annotation``.
            row: of the columns.

        Raises:
            UserError: the file is another one by now.
        """
        self._check()
        place, length = self.columns[f"{kind}.place"][row], self.columns[f"{kind}.length"][row]
        return record(self._descriptor, int(place), int(length))

    def image_records(self) -> Iterator[bytes]:
        """The texts of all images' records in the file, in its order: lists of some of them.

        Raises:
            UserError: the file is another one by now.
        """
        places, lengths = self.columns["image.place"], self.columns["image.length"]
        for start in range(0, len(places), _AT_A_TIME):
            self._check()
            last = min(start + _AT_A_TIME, len(places)) - 1
            place = int(places[start])
            yield b"[" + record(self._descriptor, place, int(places[last]) + int(lengths[last]) - place) + b"]"

    def _check(self) -> None:
        if signature(self._descriptor) != self._signature:
            self._compare()

    def _compare(self) -> None:
        """Goes on where all bytes are the same: to rename or replace the file changes the ctime as well."""
        try:
            now, content = _identified(self._descriptor)
        except (Unfit, OSError):
            content = ""
        if content != self.columns.facts["source"]["content"]:
            raise UserError(f"annotation file {str(self.path)!r} was changed while it was in use; start again")
        self._signature = now


def index_of(path: Path, say: Say) -> Index:
    """The index of an annotation file, which is made where there is none.

    Args:
        say: called with a line every few seconds while it is being made.

    Raises:
        Unfit: the file is not taken in, or there is no room for an index.
        OSError: the file cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unfit("it is no regular file")
        return Index(_columns_of(descriptor, path, say), path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def index_or_none(path: Path, say: Say) -> Index | None:
    """As `index_of`; None where there is none, for those who can read the file themselves and say what is wrong."""
    try:
        return index_of(path, say)
    except (Unfit, OSError):
        return None


def folder() -> Path:
    """Where indexes are kept."""
    return cache_folder() / "index"


def _identified(descriptor: int) -> tuple[Signature, str]:
    """The signature of an open file, and what names its content."""
    before = signature(descriptor)
    version = xxhash.xxh3_64(FORMAT.encode()).hexdigest()[:4]
    content = f"{digest(descriptor)}-{before[2]}-{version}"
    _check_unchanged(descriptor, before)
    return before, content


def _check_unchanged(descriptor: int, before: Signature) -> None:
    if signature(descriptor) != before:
        raise Unfit("it was changed while it was read")


def _columns_of(descriptor: int, path: Path, say: Say) -> Columns:
    before, content = _identified(descriptor)
    try:
        kept = folder()
        kept.mkdir(parents=True, exist_ok=True)
        if reason := _verdict(kept / f"{content}.unfit"):
            raise Unfit(reason)
        try:
            return _made(kept, content, before, descriptor, path, say)
        except Unfit as error:
            if signature(descriptor) == before:  # else it is nothing that was read
                replace(kept / f"{content}.unfit", str(error).encode())
            raise
    except (OSError, RuntimeError):  # read-only, full, or there is no home
        return _for_once(content, before, descriptor, path, say)


def _verdict(note: Path) -> str:
    """Why a file is not taken in; empty where nothing is known."""
    try:
        return note.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _opened(place: Path) -> Columns | None:
    """The columns that are there; None where there are none, or they are damaged."""
    try:
        columns = Columns(place)
    except (Damaged, OSError):
        return None
    with contextlib.suppress(OSError):
        os.utime(place / HEADER)
    return columns


def _made(kept: Path, content: str, before: Signature, descriptor: int, path: Path, say: Say) -> Columns:
    """The columns of a file, which others may be making at the same time."""
    place, making = kept / content, kept / f"{content}.making"
    if columns := _opened(place):
        return columns
    with _alone(kept / f"{content}.lock"):
        if columns := _opened(place):
            return columns
        shutil.rmtree(place, ignore_errors=True)  # what is damaged: nobody else makes it now
        shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
        making.mkdir()
        try:
            _write(making, content, before, descriptor, path, say)
            columns = Columns(making)  # mapped, whatever becomes of the folder once others can remove it
            making.rename(place)
            columns.folder = place
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    _evict(kept, content)
    return columns


def _for_once(content: str, before: Signature, descriptor: int, path: Path, say: Say) -> Columns:
    """The columns of a file in a folder that has no name any more."""
    try:
        with tempfile.TemporaryDirectory(prefix="unidetector-index-", ignore_cleanup_errors=True) as making:
            _write(Path(making), content, before, descriptor, path, say)
            return Columns(Path(making))
    except OSError as error:
        raise Unfit(f"there is no room for its index: {error}") from None


def _write(making: Path, content: str, before: Signature, descriptor: int, path: Path, say: Say) -> None:
    coco.write(descriptor, making, _progress(path, before[2], say), {"content": content})
    _check_unchanged(descriptor, before)


def _progress(path: Path, size: int, say: Say) -> Callable[[int], None]:
    began = time.monotonic()
    next_word = began + _QUIET_SECONDS

    def progress(done: int) -> None:
        nonlocal next_word
        now = time.monotonic()
        if now >= next_word and done:
            left = (now - began) * (size - done) / done
            say(f"annotation file {str(path)!r}: making its index, {done / size:.0%} done, {left:.0f} s left")
            next_word = now + _BETWEEN_SECONDS

    return progress


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same `path`."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _evict(kept: Path, content: str) -> None:
    """Removes the indexes that were unused for longest, but not `content`, until all are small enough."""
    used = []
    for place in kept.glob("*-*-*"):
        with contextlib.suppress(OSError):
            if place.suffix == ".making":
                _remove_abandoned(place)
            elif place.is_dir():
                size = sum(one.stat().st_size for one in place.iterdir())
                used.append(((place / HEADER).stat().st_mtime, size, place))
    total = sum(size for _, size, _ in used)
    for _, size, place in sorted(used):
        if total > MOST_BYTES and place.name != content:
            shutil.rmtree(place, ignore_errors=True)
            total -= size


def _remove_abandoned(making: Path) -> None:
    with making.with_suffix(".lock").open("wb") as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(making, ignore_errors=True)

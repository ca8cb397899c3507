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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import xxhash

from data_server.files.index import coco
from data_server.files.index.columns import FORMAT, HEADER, Columns, Damaged
from data_server.files.index.json_pieces import Unfit, record
from shared.contents import Signature, cache_folder, digest, signature
from shared.errors import UserError
from shared.files import locked, replace

MOST_BYTES = 32 << 30
_AT_A_TIME = 1 << 10  # records
_QUIET_SECONDS = 3.0  # what takes less needs no word
_BETWEEN_SECONDS = 5.0

Say = Callable[[str], None]


class Changed(Unfit):
    """A file that was written to meanwhile."""


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
            (now,), content = identified([self._descriptor], "")
        except (Unfit, OSError):
            content = ""
        if content != self.columns.facts["source"]["content"]:
            raise UserError(f"annotation file {str(self.path)!r} was changed while it was in use; start again")
        self._signature = now


def index_of(path: Path, say: Say) -> Index:
    """The index of an annotation file in COCO's format, which is made where there is none.

    Args:
        say: called with a line every few seconds while it is being made.

    Raises:
        Unfit: the file is not taken in, or there is no room for an index.
        OSError: the file cannot be read.
    """
    descriptor = opened(path)
    try:
        before, content = identified([descriptor], "")

        def write(making: Path) -> None:
            with unchanged([descriptor], before):
                coco.write(descriptor, making, progress(path, before[0][2], say), {"content": content})

        return Index(columns_of(content, write), path, descriptor)
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


def opened(path: Path) -> int:
    """A descriptor of a file. Raises Unfit where it is no regular one, and OSError where it cannot be opened."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unfit("it is no regular file")
    return descriptor


def identified(descriptors: Sequence[int], kind: str) -> tuple[list[Signature], str]:
    """The signatures of open files, and what names their content as that of an index of some kind.

    Raises:
        Unfit: one is being written to.
        OSError: one cannot be read.
    """
    before = [signature(one) for one in descriptors]
    digests = [digest(one) for one in descriptors]
    with unchanged(descriptors, before):
        joined = digests[0] if len(digests) == 1 else xxhash.xxh3_128("".join(digests).encode()).hexdigest()
    return before, name_of(joined, sum(one[2] for one in before), kind)


def name_of(digest: str, size: int, kind: str) -> str:
    """Names a content as that of an index of some kind."""
    return f"{digest}-{size}-{xxhash.xxh3_64((FORMAT + kind).encode()).hexdigest()[:4]}"


@contextlib.contextmanager
def unchanged(descriptors: Sequence[int], before: Sequence[Signature]) -> Iterator[None]:
    """Inside, open files are read that had the signatures `before`. Raises Unfit where one was changed meanwhile."""
    try:
        yield
    finally:  # what was read of such a file is nothing that it held
        if [signature(one) for one in descriptors] != before:
            raise Changed("it was changed while it was read")


def columns_of(content: str, write: Callable[[Path], None]) -> Columns:
    """The columns of a content.

    Args:
        content: as `name_of` names it.
        write: makes them in an empty folder; called where there are none.

    Raises:
        Unfit: by `write`, now or for this content before, or there is no room.
    """
    try:
        kept = folder()
        kept.mkdir(parents=True, exist_ok=True)
        if reason := _verdict(kept / f"{content}.unfit"):
            raise Unfit(reason)
        try:
            return _made(kept, content, write)
        except Changed:
            raise
        except Unfit as error:
            replace(kept / f"{content}.unfit", str(error).encode())
            raise
    except (OSError, RuntimeError):  # read-only, full, or there is no home
        return _for_once(write)


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


def _made(kept: Path, content: str, write: Callable[[Path], None]) -> Columns:
    """The columns of a content, which others may be making at the same time."""
    place, making = kept / content, kept / f"{content}.making"
    if columns := _opened(place):
        return columns
    with locked(kept / f"{content}.lock"):
        if columns := _opened(place):
            return columns
        shutil.rmtree(place, ignore_errors=True)  # what is damaged: nobody else makes it now
        shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
        making.mkdir()
        try:
            write(making)
            columns = Columns(making)  # mapped, whatever becomes of the folder once others can remove it
            making.rename(place)
            columns.folder = place
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    _evict(kept, content)
    return columns


def _for_once(write: Callable[[Path], None]) -> Columns:
    """Columns in a folder that has no name any more."""
    try:
        with tempfile.TemporaryDirectory(prefix="unidetector-index-", ignore_cleanup_errors=True) as making:
            write(Path(making))
            return Columns(Path(making))
    except OSError as error:
        raise Unfit(f"there is no room for its index: {error}") from None


def progress(path: Path, size: int, say: Say) -> Callable[[int], None]:
    """To be called with how much of `size` has been done for the index of `path`; says it and the time left."""
    began = time.monotonic()
    next_word = began + _QUIET_SECONDS

    def told(done: int) -> None:
        nonlocal next_word
        now = time.monotonic()
        if now >= next_word and done:
            left = (now - began) * (size - done) / done
            say(f"annotation file {str(path)!r}: making its index, {done / size:.0%} done, {left:.0f} s left")
            next_word = now + _BETWEEN_SECONDS

    return told


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

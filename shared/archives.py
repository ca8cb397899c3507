"""Files in archives: a path may lead through one as through a folder.

    images/train.zip/000001.jpg          images/shard_07.tar/dog/000001.jpg
    └── archive ───┘ └ member ┘          └── archive ──────┘ └── member ──┘

An archive is opened once: its names are read, and kept as columns of 48 bytes a member, which forked processes share. A
member is found by the digest of its name and read at its place. Nothing moves a position in the file, so any number of
processes and threads read at a time.

    .zip     members that are stored or deflated; their checksums are compared
    .tar     plain; of a compressed one everything before a member would have to be unpacked to read that, so it is only
             good for what is copied out once (`Member.write_to`)
"""

from __future__ import annotations

import contextlib
import lzma
import os
import posixpath
import re
import shutil
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, NamedTuple

import numpy as np
import xxhash

from shared.errors import UserError, described

_IN_AN_ARCHIVE = re.compile(r"^(.*?\.(?:zip|tar|tgz|tar\.\w+))/(.+)$", re.IGNORECASE | re.DOTALL)
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip's member: the lengths of its name and of its extra field
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError)
_PIECE = 1 << 20
_UNREADABLE = 255  # in place of a method: encrypted, sparse, or compressed in another way


class Place(NamedTuple):
    """Where an archive has a member, whose bytes are `size`, and `packed` in the file."""

    start: int
    packed: int
    size: int
    checksum: int
    method: int


class Archive:
    """An archive and the columns of its members, sorted by `keys`, which are the digests of their names."""

    def __init__(self, path: str) -> None:
        """Raises OSError: it is no archive, or a compressed .tar."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._known = _signature(os.fstat(self._descriptor))
        self._is_zip = path.lower().endswith(".zip")
        try:
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                named = list(_zipped(file) if self._is_zip else _taped(path, file))
        except _DAMAGED as error:
            raise OSError(f"archive {path!r} cannot be read: {described(error)}") from None
        last = dict(named)  # of members with one name, as zip and tar have it
        keys = np.fromiter((_key(name) for name in last), np.uint64, len(last))
        order = np.argsort(keys)
        self.keys = keys[order]
        self._columns = np.array(list(last.values()), np.int64).reshape(-1, len(Place._fields))[order]

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, member: str) -> Place:
        """Raises FileNotFoundError: there is none of that name; OSError: the archive is another than when it was
        opened."""
        if _signature(os.stat(self.path)) != self._known:
            raise OSError(f"archive {self.path!r} has changed since it was opened; start again")
        key = np.uint64(_key(_normal(member)))
        row = int(np.searchsorted(self.keys, key))
        if row == len(self.keys) or self.keys[row] != key:
            raise FileNotFoundError(f"archive {self.path!r} has no {member!r}")
        return Place(*map(int, self._columns[row]))

    def read(self, member: str) -> bytes:
        """The content of a member. Raises what `find` raises, and OSError: it is damaged, or packed in another way."""
        place, title = self.find(member), f"archive {self.path!r}: {member!r}"
        if place.method == _UNREADABLE:
            raise OSError(f"{title} is encrypted, sparse or compressed in another way than by deflate; pack it anew")
        start = place.start
        if self._is_zip:
            header = os.pread(self._descriptor, _LOCAL_HEADER.size, start)
            start += _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
        content = os.pread(self._descriptor, place.packed, start)
        try:
            if place.method == _DEFLATED:
                content = zlib.decompress(content, -zlib.MAX_WBITS, place.size)
        except zlib.error as error:
            raise OSError(f"{title} is damaged: {error}") from None
        if len(content) != place.size or (self._is_zip and zlib.crc32(content) != place.checksum):
            raise OSError(f"{title} is damaged: not the bytes that were packed")
        return content


def _zipped(file: object) -> Iterator[tuple[str, Place]]:
    with zipfile.ZipFile(file) as archive:  # type: ignore[call-overload]
        for one in archive.infolist():
            if not one.is_dir():
                known = one.compress_type in (_STORED, _DEFLATED) and not one.flag_bits & 1
                method = one.compress_type if known else _UNREADABLE
                yield _normal(one.filename), Place(one.header_offset, one.compress_size, one.file_size, one.CRC, method)


def _taped(path: str, file: object) -> Iterator[tuple[str, Place]]:
    if not path.lower().endswith(".tar"):
        raise OSError(f"archive {path!r}: members of a compressed .tar cannot be read one by one; make it a plain .tar")
    with tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[call-overload]
        while (one := archive.next()) is not None:
            archive.members.clear()  # or all are kept
            if one.isreg():
                method = _UNREADABLE if one.issparse() else _STORED
                yield _normal(one.name), Place(one.offset_data, one.size, one.size, 0, method)


def _normal(member: str) -> str:
    return posixpath.normpath(member)


def _key(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogateescape"))


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Member:
    """What a path leads to within an archive."""

    archive: str
    name: str

    def read(self) -> bytes:
        """See `Archive.read`."""
        return opened(self.archive).read(self.name)

    def size(self) -> int:
        """In bytes; raises what `Archive.find` raises."""
        return opened(self.archive).find(self.name).size

    def write_to(self, file: BinaryIO) -> None:
        """Copies the content into a file, a piece at a time, from a compressed .tar as well.

        Raises:
            OSError: there is no such member, or it or its archive is damaged.
        """
        name = _normal(self.name)
        try:
            with contextlib.ExitStack() as open_files:
                content: IO[bytes] | None = None
                if self.archive.lower().endswith(".zip"):
                    zipped = open_files.enter_context(zipfile.ZipFile(self.archive))
                    for packed in zipped.infolist():
                        if _normal(packed.filename) == name and not packed.is_dir():
                            content = zipped.open(packed)
                else:
                    taped = open_files.enter_context(tarfile.open(self.archive))
                    for entry in taped:
                        if _normal(entry.name) == name and entry.isreg():
                            content = taped.extractfile(entry)
                if content is None:
                    raise FileNotFoundError(f"archive {self.archive!r} has no {self.name!r}")
                shutil.copyfileobj(content, file, _PIECE)
        except (*_DAMAGED, RuntimeError, zlib.error, lzma.LZMAError) as error:
            raise OSError(f"archive {self.archive!r}: {self.name!r} cannot be read: {described(error)}") from None


def member(path: str | os.PathLike[str]) -> Member | None:
    """What `path` names within an archive; None where it leads through none."""
    found = _IN_AN_ARCHIVE.match(os.fspath(path))
    return Member(found[1], found[2]) if found and os.path.isfile(found[1]) else None


_opened: dict[str, Archive] = {}
_lock = threading.Lock()


def opened(path: str) -> Archive:
    """The archive in a file, opened once in a process."""
    with _lock:
        if path not in _opened:
            _opened[path] = Archive(path)
        return _opened[path]


def open_all(paths: Iterable[str]) -> None:
    """Opens the archives through which some paths lead, for this process and those that it forks.

    Raises:
        UserError: one cannot be read.
    """
    last = "\0"
    for path in paths:
        if not path.startswith(last) and (found := member(path)):
            last = f"{found.archive}/"
            try:
                opened(found.archive)
            except OSError as error:
                raise UserError(described(error)) from None

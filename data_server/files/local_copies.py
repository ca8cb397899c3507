"""Annotation files that lie in an archive or behind an address, as copies on this machine: they are indexed, and read
again at every evaluation.

    annotations.zip/instances_train.json    ─┐
    https://host/instances_train.json        ├─►  ~/.cache/unidetector/copies/KEY/instances_train.json
    petrel://bucket/instances_train.json    ─┘    (or below XDG_CACHE_HOME)

KEY is the digest of an archive's place, inode, size and times and of the member's name: it is unpacked once. Of what is
fetched it is the digest of the content: every process fetches it once, and what has not changed is not indexed again. A
copy that nobody has used for `MOST_DAYS` is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import xxhash
from mmengine.fileio import get_local_path

from data_server.files import readers
from shared import archives, contents, source
from shared.errors import UserError, described
from shared.files import whole

MOST_DAYS = 30
fetched: dict[str, str] = {}  # the copies of what this process has asked for
_REMEDY = "make it writable, set XDG_CACHE_HOME to another folder, or copy the file there yourself"


def local(path: str, backend_args: dict[str, Any] | None = None) -> str:
    """Where the file lies on this machine: `path` itself, or a copy.

    Raises:
        UserError: it cannot be had.
    """
    if source.is_remote(path, backend_args):
        return _fetched(path, backend_args)
    if (member := archives.member(path)) is None:
        return path
    try:
        with open(member.archive, "rb") as archive:
            signature = contents.signature(archive.fileno())
        key = repr((os.path.abspath(member.archive), signature, member.name))
        return _kept(xxhash.xxh3_128_hexdigest(key.encode("utf-8", "surrogateescape")), path, member.write_to)
    except OSError as error:
        raise UserError(f"annotation file {path!r}: {described(error)}") from None


def _fetched(path: str, backend_args: dict[str, Any] | None) -> str:
    asked = repr((path, backend_args))
    if asked not in fetched or not os.path.exists(fetched[asked]):
        readers.replace()
        try:
            with get_local_path(path, backend_args=backend_args) as found, open(found, "rb") as file:
                key = contents.digest(file.fileno())
                fetched[asked] = _kept(key, path, lambda copy: shutil.copyfileobj(file, copy))
        except UserError:
            raise
        except Exception as error:  # whatever a backend raises
            raise UserError(f"annotation file {path!r} cannot be fetched: {described(error)}") from None
    return fetched[asked]


def _kept(key: str, path: str, write: Callable[[BinaryIO], None]) -> str:
    """The copy of that key, which `write` makes where there is none."""
    try:
        copies = contents.cache_folder() / "copies"
        place = copies / key / os.path.basename(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.utime(place.parent)
    except (OSError, RuntimeError) as error:
        raise UserError(f"annotation file {path!r}: its copy cannot be kept: {described(error)}; {_REMEDY}") from None
    if not place.exists():
        with whole(place) as file:
            write(file)
        _remove_unused(copies)
    return str(place)


def _remove_unused(copies: Path) -> None:
    for folder in copies.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > MOST_DAYS * 86400:
                shutil.rmtree(folder)

"""MMEngine's readers of local files and of addresses, through which all of MMDetection reads, made to read as
`shared.source` does: archives as folders, and servers that fail now and then."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from mmengine.fileio.backends import HTTPBackend, LocalBackend

from shared import archives, source


def replace() -> None:
    """Does that for this process."""
    for backend in (LocalBackend, HTTPBackend):
        backend.get = lambda _, filepath: source.read(filepath)
        backend.get_text = lambda _, filepath, encoding="utf-8": source.read(filepath).decode(encoding)
    LocalBackend.get_local_path = lambda _, filepath: _local_path(filepath)


@contextlib.contextmanager
def _local_path(path: str | os.PathLike[str]) -> Iterator[str | os.PathLike[str]]:
    """A file of its own for what can read nothing else, which is gone with the block where `path` leads through an
    archive."""
    if (member := archives.member(path)) is None:
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=os.path.basename(path)) as file:
        file.write(member.read())
        file.flush()
        yield file.name

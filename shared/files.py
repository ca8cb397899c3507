"""Files that are written whole or not at all.

    .NAME.partial in the same folder -> fsync -> rename to NAME -> fsync of the folder

Whenever a kill or a power cut comes, NAME has its old content or all of the new one. What a kill leaves behind is a
hidden partial file, which the next attempt overwrites.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


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
    try:
        with growing.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(growing, path)
    except BaseException:
        growing.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace(path: Path, content: bytes, partial: str | None = None) -> None:
    """Writes `content` as `whole` does, at once."""
    with whole(path, partial) as file:
        file.write(content)

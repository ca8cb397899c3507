"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = ".partial"


def replace(path: Path, content: bytes) -> None:
    """Writes a file so that `path` has either its old content or all of the new one, also after a power cut."""
    # one name for all: what a kill leaves behind is overwritten by the next save
    partial = path.parent / PARTIAL
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

"""The directory that a run's results go to: one process at a time writes there, and every file whole or not at all."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shared.errors import UserError

PARTIAL = ".partial"


def occupy(work_dir: Path) -> None:
    """Makes the work dir and keeps other trainers out of it for as long as this process lives.

    Raises:
        UserError: another one trains there, or the directory cannot be made.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        fcntl.flock(os.open(work_dir, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"work dir {work_dir}: another trainer is writing there; choose another --work-dir") from None
    except OSError as error:
        raise UserError(f"work dir {work_dir}: {error.strerror}; choose a --work-dir you may write to") from None


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

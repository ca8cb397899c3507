"""The directory of a run's results: one process at a time writes there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shared.errors import UserError


def occupy(work_dir: Path) -> None:
    """Makes the work dir and keeps other trainers out of it for as long as this process lives.

    Raises:
        UserError: another one trains there, or the directory cannot be made.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        fcntl.flock(os.open(work_dir, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"work dir {work_dir}: another trainer is writing there; choose another --work-dir") from None
    except OSError as error:
        raise UserError(f"work dir {work_dir}: {error.strerror}; choose a --work-dir you may write to") from None

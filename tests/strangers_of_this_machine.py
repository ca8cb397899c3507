"""Another user of this machine, for tests that root runs."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STRANGER = 54322
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@contextmanager
def by_another_user(act: Callable[[], None]) -> Iterator[None]:
    """A process of another user that has done `act` and stays; what `act` opens stays open."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
            act()
            os.write(writer, b"done")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 4) == b"done"
        yield
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextmanager
def everybodys_folder() -> Iterator[Path]:
    """A folder in which every user may write."""
    folder = Path(tempfile.mkdtemp(prefix="everybody", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)

"""Files that grow by whole records: logs. None of them ends a program.

    add ──► waiting ──flush──► file

What the disk does not take (it is full, read-only, broken) stays waiting and goes in with the next flush. Where only
the beginning of a record has gone in, that is taken out again; where not even that is possible, the rest follows.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class Journal:
    """One file, made by the first flush.

    Args:
        say: called with a line each time something cannot be written.
        lines: whether records are lines; then one that a kill left incomplete at the file's end is cut off first.
    """

    def __init__(self, path: Path, say: Callable[[str], None], lines: bool = True) -> None:
        self.path = path
        self._say, self._lines = say, lines
        self._waiting: deque[bytes] = deque()
        self._file: BinaryIO | None = None

    def add(self, record: bytes) -> None:
        """Keeps a record for the next flush."""
        self._waiting.append(record)

    def flush(self) -> None:
        """Writes what is waiting, as far as that is possible."""
        if not self._waiting:
            return
        try:
            if self._file is None:
                self._file = self._opened()
            while self._waiting:
                self._append(self._file)
        except OSError as error:
            self._say(f"cannot write {self.path}: {error.strerror}; the run continues, free some space")

    def _append(self, file: BinaryIO) -> None:
        """Writes the first record that is waiting."""
        end, left = file.seek(0, os.SEEK_END), self._waiting[0]
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            try:
                file.truncate(end)
            except OSError:
                self._waiting[0] = left
            raise
        self._waiting.popleft()

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()  # unbuffered: there is nothing left to be written
            self._file = None

    def _opened(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._lines and self.path.exists():
            content = self.path.read_bytes()
            if not content.endswith(b"\n"):
                with self.path.open("r+b") as file:
                    file.truncate(content.rfind(b"\n") + 1)
        return self.path.open("ab", buffering=0)

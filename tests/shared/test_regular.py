"""Only regular files are read."""

import os
import signal
from pathlib import Path

import pytest

from shared import regular
from shared.regular import read, unfit


def test_what_is_no_regular_file_is_named_and_never_opened(odd: tuple[Path, str]) -> None:
    path, kind = odd
    said = f"it is {kind}; expected a regular file"
    assert unfit(path) == said
    with pytest.raises(OSError, match=said):
        read(path)


def test_a_file_is_read_as_far_as_it_reached_when_it_was_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert unfit(tmp_path / "file") is None and read(tmp_path / "file") == b"x" * 100
    assert os.stat("/proc/self/status").st_size == 0 and read("/proc/self/status") == b""
    assert unfit(tmp_path / "nothing") is None


def test_a_pipe_that_takes_a_files_place_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(regular, "unfit", lambda _: None)  # what lay there when it was looked at

    def waits(*_: object) -> None:
        raise AssertionError("it waits for a writer")

    earlier = signal.signal(signal.SIGALRM, waits)
    signal.alarm(60)
    try:
        with pytest.raises(OSError, match="it is a named pipe; expected a regular file"):
            read(tmp_path / "pipe")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)

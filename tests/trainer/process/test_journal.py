"""Logs end nothing: what cannot be written is told, kept, and follows."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainer.process.journal import Journal


def test_the_file_is_made_with_its_folder_by_the_first_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "log", pytest.fail)
    journal.flush()
    assert not list(tmp_path.iterdir())
    journal.add(b"1\n")
    journal.close()
    assert (tmp_path / "new" / "log").read_bytes() == b"1\n"


def test_records_that_a_full_disk_does_not_take_follow_when_there_is_room(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "log").symlink_to("/dev/full")
    journal = Journal(tmp_path / "log", said.append, lines=False)
    journal.add(b"1\n")
    journal.flush()
    assert said == [f"cannot write {tmp_path}/log: No space left on device; the run continues, free some space"]
    journal._file.close()
    journal._file = None
    (tmp_path / "log").unlink()
    journal.add(b"2\n")
    journal.close()
    assert (tmp_path / "log").read_bytes() == b"1\n2\n" and len(said) == 1


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What is written beyond `size` bytes of a file fails, after what fits in."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_that_only_begins_to_fit_is_taken_out_and_follows_whole(tmp_path: Path) -> None:
    said: list[str] = []
    journal = Journal(tmp_path / "log", said.append)
    for record in (b"one\n", b"two\n", b"three\n"):
        journal.add(record)
    with files_of_at_most(6):
        journal.flush()
        assert (tmp_path / "log").read_bytes() == b"one\n" and len(said) == 1
        journal.close()
    assert (tmp_path / "log").read_bytes() == b"one\n"
    journal.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\n"


def test_a_folder_that_cannot_be_made_is_told_and_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "work").touch()
    journal = Journal(tmp_path / "work" / "log", said.append)
    journal.add(b"1\n")
    journal.flush()
    assert "cannot write" in said[0] and len(said) == 1
    (tmp_path / "work").unlink()
    journal.close()
    assert (tmp_path / "work" / "log").read_bytes() == b"1\n"


def test_a_line_that_a_kill_cut_short_is_gone_before_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"1\n2")
    journal = Journal(tmp_path / "log", pytest.fail)
    journal.add(b"3\n")
    journal.close()
    assert (tmp_path / "log").read_bytes() == b"1\n3\n"

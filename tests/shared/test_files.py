"""Files appear whole or not at all, and what is left of an attempt is overwritten by the next."""

import errno
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.files import expect, locked, replace, reported, save, whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_old_content_stands_until_all_of_the_new_one_is_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with whole(path) as file:
        file.write(b"new ")
        file.flush()
        assert path.read_bytes() == b"old" and names(tmp_path) == [".a.json.partial", "a.json"]
        file.write(b"content")
    assert path.read_bytes() == b"new content" and names(tmp_path) == ["a.json"]


def test_an_error_while_writing_leaves_the_old_content_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), whole(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.json"]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace(tmp_path / "a.json", b"content")
    assert names(tmp_path) == ["a.json"]


def test_what_a_kill_left_behind_is_overwritten(tmp_path):
    for partial in (".a.json.partial", ".partial"):
        (tmp_path / partial).write_bytes(b"a longer text of an earlier attempt")
    replace(tmp_path / "a.json", b"1")
    replace(tmp_path / "step_2", b"2", partial=".partial")
    assert names(tmp_path) == ["a.json", "step_2"]
    assert (tmp_path / "a.json").read_bytes() + (tmp_path / "step_2").read_bytes() == b"12"


def test_the_content_reaches_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    calls, sync, rename = [], os.fsync, os.replace

    def fsync(descriptor):
        calls.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def replaced(*paths):
        calls.append("rename")
        rename(*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replaced)
    replace(tmp_path / "a.json", b"content")
    assert calls == [".a.json.partial", "rename", tmp_path.name]


def _write_often(path: Path, letter: bytes) -> None:
    for _ in range(200):
        replace(path, letter * 100_000)


def test_two_processes_that_write_the_same_file_never_mix(tmp_path):
    path = tmp_path / "a"
    replace(path, b"z")
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(path, letter)) for letter in (b"x", b"y")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert content in (b"z", b"x" * 100_000, b"y" * 100_000)
        seen.add(content[:1])
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["a"] and seen


def _count_often(folder):
    for _ in range(200):
        with locked(folder / "lock"):
            number = int((folder / "number").read_text())
            (folder / "number").write_text(str(number + 1))


def test_what_is_locked_is_for_one_process_at_a_time(tmp_path):
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("fork")
    counters = [context.Process(target=_count_often, args=(tmp_path,)) for _ in range(2)]
    for counter in counters:
        counter.start()
    for counter in counters:
        counter.join()
    assert (tmp_path / "number").read_text() == "400"


def test_a_result_that_cannot_be_written_is_one_line_with_what_to_do(tmp_path):
    save(tmp_path / "new" / "a", b"1")
    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    with pytest.raises(UserError, match=r"cannot write .*/new: Is a directory; free some space, or choose another"):
        save(tmp_path / "new", b"1")


def test_a_result_that_could_not_be_written_is_refused_before_the_work(tmp_path):
    expect(tmp_path / "new" / "a" / "b")
    assert names(tmp_path) == []
    (tmp_path / "new").mkdir()
    save(tmp_path / "old", b"1")
    expect(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"1"
    for place, reason in (("new", "Is a directory"), ("old/a", "File exists"), ("old/b/c", "Not a directory")):
        with pytest.raises(UserError, match=rf"cannot write .*/{place}: {reason}; move over"):
            expect(tmp_path / place, "move over")
    assert names(tmp_path) == ["new", "old"]


def test_a_refusal_before_the_work_leaves_no_folder_behind(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(UserError, match=r"cannot write .*/new/a/b: No space left on device"):
        expect(tmp_path / "new" / "a" / "b")
    assert names(tmp_path) == []


def test_what_keeps_a_folder_of_files_from_being_written_is_one_line_of_its_name(tmp_path):
    refused = pytest.raises(UserError, match=r"cannot write .*/out: No such file or directory; move over")
    with refused, reported(tmp_path / "out", "move over"):
        (tmp_path / "out" / "a").touch()

"""Linux' files of keys and values, with and without a colon and a unit."""

import os

import pytest

from data_server.machine.fields import fields, numbers


def test_numbers_are_bytes_where_the_file_says_kb(tmp_path):
    (tmp_path / "status").write_text(
        "Name:\ta: b\nVmHWM:\t    12 kB\nThreads:\t3\noom_kill 7\nSigCgt:\t0000000000014402\n"
    )
    assert numbers(tmp_path / "status", "oom_kill", "VmHWM", "Threads") == [7, 12288, 3]
    assert fields(tmp_path / "status")["Name"] == "a: b"
    assert fields(tmp_path / "status")["SigCgt"] == "0000000000014402"


def test_a_key_that_is_not_there_is_named_with_the_file(tmp_path):
    (tmp_path / "status").write_text("VmHWM:\t12 kB\nEmpty:\n")
    for key in ("VmRSS", "Vm", "Empty"):
        with pytest.raises(OSError, match=rf"status has no {key}$"):
            numbers(tmp_path / "status", "VmHWM", key)
    with pytest.raises(FileNotFoundError):
        numbers(tmp_path / "none", "VmHWM")


def test_this_process_can_be_read():
    assert fields(f"/proc/{os.getpid()}/status")["Pid"] == str(os.getpid())
    assert numbers("/proc/self/smaps_rollup", "Rss")[0] > 1 << 20

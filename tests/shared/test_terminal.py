"""What reaches a terminal, and what happens when a line cannot be written."""

import os
import subprocess
import sys

import pytest

from shared.terminal import LOG, one_line, printable
from tests.cluster import ROOT

SAY = "import sys; from shared.terminal import write_line; [write_line('x' * 100) for _ in range(3000)]; sys.exit(7)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a plain line", "a plain line"),
        ("\u3053\u3093\u306b\u3061\u306f \u00fc \U0001f600", "\u3053\u3093\u306b\u3061\u306f \u00fc \U0001f600"),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("one\ntwo\rthree\tfour\x7f", r"one\ntwo\rthree\tfour\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("jpg\u202egnp", r"jpg\u202egnp"),
        ("a\u2028b", r"a\u2028b"),
        ("\udc80", r"\udc80"),
    ],
)
def test_only_what_is_visible_stays_as_it_is(text, shown):
    assert one_line(text) == shown


def test_a_text_of_several_lines_keeps_them():
    assert printable("one\ntw\x1bo\n") == "one\ntw\\x1bo\n"


def test_a_line_of_a_log_has_no_control_character_but_its_ends():
    script = r"from shared.terminal import write_line; write_line('a\x1b[2J\nb\x07\udc80')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert done.stderr == b"a\\x1b[2J\nb\\x07\\udc80\n"


def said(stderr, **how):
    return subprocess.run([sys.executable, "-c", SAY], cwd=ROOT, stderr=stderr, timeout=120, **how).returncode


def test_a_reader_that_went_away_ends_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    assert said(writer) == 7
    os.close(writer)


def test_a_full_disk_ends_nothing():
    with open("/dev/full", "wb") as full:
        assert said(full) == 7


def test_no_standard_error_at_all_ends_nothing():
    assert said(None, preexec_fn=lambda: os.close(2)) == 7


@pytest.mark.slow
def test_a_reader_that_has_stopped_keeps_nobody_waiting_for_ever():
    reader, writer = os.pipe()
    few = SAY.replace("3000", "670")  # more than a pipe takes, and a tenth of a second for each of the rest
    done = subprocess.run([sys.executable, "-c", few], cwd=ROOT, stderr=writer, timeout=120)
    assert done.returncode == 7
    os.close(reader)
    os.close(writer)


SHOW = """
from shared.errors import UserError
from shared.terminal import show
try:
    show('a\\tb')
except UserError as error:
    exit(str(error))
"""


def test_a_result_that_standard_output_does_not_take_is_one_line_and_nothing_more_at_exit() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", SHOW], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "cannot write the result to standard output: No space left on device; free some space, or send it elsewhere\n"
    )
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a\\tb\n")


def test_a_log_file_gets_the_lines_of_a_process_and_of_those_that_it_starts_without_control_characters(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    script = (
        "import subprocess, sys; from shared.terminal import keep, show, write_line\n"
        "write_line('one\\x1b[2J\\ntwo'); show('a result'); keep('for the file alone\\udc80')\n"
        "if len(sys.argv) == 1: subprocess.run([sys.executable, '-c', sys.orig_argv[2], 'again'], check=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, LOG: str(log)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "one\\x1b[2J\ntwo\n" * 2)
    assert log.read_text() == "before\n" + "one\\x1b[2J\ntwo\na result\nfor the file alone\\udc80\n" * 2


@pytest.mark.parametrize("log", ["/dev/full", "/nowhere/log.txt", "/"])
def test_a_log_file_that_takes_no_line_ends_nothing_and_the_line_is_written_elsewhere(log):
    script = "from shared.terminal import write_line; write_line('a line')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, LOG: log}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "a line\n")

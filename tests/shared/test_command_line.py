"""The old name of an option works as the new one does, and says so; a locale that writes names otherwise is told."""

import argparse
import os
import subprocess
import sys

import pytest

from shared.command_line import add_renamed
from tests.cluster import ROOT


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="program")
    add_renamed(parser, "--metrics", parser.add_argument("--prometheus", type=int, default=7, metavar="PORT"))
    add_renamed(parser, "--draw", parser.add_argument("--draw-boxes", action="store_true"))
    group = parser.add_mutually_exclusive_group(required=True)
    add_renamed(group, "--names", group.add_argument("--names-file", nargs="+"))
    group.add_argument("--annotations")
    return parser


def test_an_old_name_means_what_the_new_one_means_and_prints_one_line(parser, capsys):
    new = parser.parse_args(["--prometheus", "1", "--draw-boxes", "--names-file", "a", "b"])
    assert capsys.readouterr().err == ""
    assert parser.parse_args(["--metrics", "1", "--draw", "--names", "a", "b"]) == new
    assert capsys.readouterr().err.splitlines() == [
        "notice: --metrics is now --prometheus; the old name will go with the next version",
        "notice: --draw is now --draw-boxes; the old name will go with the next version",
        "notice: --names is now --names-file; the old name will go with the next version",
    ]


def test_without_either_name_the_default_stands_and_nothing_is_said(parser, capsys):
    options = parser.parse_args(["--annotations", "a"])
    assert (options.prometheus, options.draw_boxes, options.names_file) == (7, False, None)
    assert capsys.readouterr().err == ""


def test_the_help_text_shows_new_names_only(parser):
    text = parser.format_help()
    assert "--prometheus PORT" in text and "--names-file" in text
    assert not any(
        old in text.replace("--draw-boxes", "").replace("--names-file", "")
        for old in ("--metrics", "--draw", "--names")
    )


def test_an_old_name_excludes_what_the_new_one_excludes(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["--names", "a", "--annotations", "b"])
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["trainer describe --config none.py", "data_server subset --annotations none.json"])
def test_where_file_names_are_not_written_as_utf8_both_programs_say_so_first(command):
    ascii_names = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"}
    for locale, warnings in ((ascii_names, 1), ({"LC_ALL": "C.UTF-8"}, 0)):
        done = subprocess.run(
            [sys.executable, "-m", *command.split()],
            cwd=ROOT,
            env={**os.environ, **locale, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
        )
        assert done.stderr.count("warning: file names are written in ascii here") == warnings, done.stderr
        assert ("set PYTHONUTF8=1" in done.stderr) == bool(warnings)

"""Tables in a terminal and in a file: aligned, complete, and plain where nobody looks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.reporting.table import table

ROOT = Path(__file__).parents[3]
ROWS = [("proposals", "AR", "images"), ("10", 0.1234, 5), ("a thousand", 0.5, 5000)]
SHOWN = """
import sys
from trainer.reporting.table import table
print(table([("name", "AP"), ("a name of a data set in several words", 0.5), ("[bold]x[/bold] :smile:", 0.25)]))
"""


def on_a_terminal(columns: int, **environment: str) -> str:
    """What `SHOWN` writes on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    told = {"COLUMNS": str(columns), "TERM": "xterm"} | environment
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    subprocess.run([sys.executable, "-c", SHOWN], cwd=ROOT, env=inherited | told, stdout=theirs, check=True)
    os.close(theirs)
    written = os.read(ours, 100_000).decode().replace("\r\n", "\n")
    os.close(ours)
    return written


def test_a_table_is_aligned() -> None:
    assert table(ROWS).splitlines() == [
        "proposals      AR  images",
        "----------  -----  ------",
        "10          0.123       5",
        "a thousand  0.500    5000",
    ]


def test_a_table_of_nothing_has_its_header() -> None:
    assert table([("split", "AP")]).splitlines() == ["split  AP", "-----  --"]


def test_elsewhere_than_on_a_terminal_nothing_is_folded_however_wide_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    rows = [["name", *(f"metric {n}" for n in range(40))], ["a name in words " * 20, *(n / 7 for n in range(40))]]
    assert len(table(rows).splitlines()) == 3


def test_names_are_written_as_they_are() -> None:
    for name in ("[bold]x[/bold]", ":smile:", "[link=http://x]", "50 %", "https://example.org", "犬"):
        assert table([("name", "AP"), (name, 0.5)]).splitlines()[2].startswith(f"{name}  ")


def test_wide_letters_take_two_columns() -> None:
    assert table([("n", "AP"), ("犬", 0.5), ("ab", 0.25)]).splitlines()[1:] == ["--  -----", "犬  0.500", "ab  0.250"]


def test_leading_spaces_of_a_cell_stay() -> None:
    assert table([("  parameters",), ("       1,000",)]).splitlines()[2] == "       1,000"


def test_on_a_terminal_the_header_is_bold_and_text_is_folded_but_no_number() -> None:
    written = on_a_terminal(30)
    assert written.startswith("\x1b[1mname") and "─" in written
    assert " 0.500\n" in written and " 0.250\n" in written and "[bold]x[/bold] :smile:" in written
    assert "\nseveral words\n" in written
    assert max(map(len, written.splitlines()[2:])) <= 30


def test_a_terminal_too_narrow_for_the_numbers_wraps_them_itself() -> None:
    assert "0.500" in on_a_terminal(3)


def test_the_terminal_that_openmpi_gives_a_rank_gets_plain_text() -> None:
    written = on_a_terminal(30, OMPI_COMM_WORLD_SIZE="1")
    assert "\x1b" not in written and "a name of a data set in several words  0.500\n" in written


def test_a_terminal_without_colours_gets_none() -> None:
    assert "\x1b[2m" not in on_a_terminal(80, TERM="dumb")

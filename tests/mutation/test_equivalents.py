"""What was judged to be equivalent, and when the judgement is over."""

from __future__ import annotations

import pytest

from tests.mutation import equivalents, python_source
from tests.mutation.equivalents import Equivalent

SOURCE = """\
def total(numbers):
    result = 0
    while numbers:
        result += numbers.pop(0)
    return result
"""
JUDGED = """\
# About this file

shared/a.py
result += numbers.pop(0)
0 ─► 1
A reason.

shared/a.py
result += numbers.pop(1)
1 ─► 2
Another.
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "equivalents.txt").write_text(JUDGED)
    return tmp_path / "equivalents.txt"


@pytest.mark.parametrize("above", ["", "import os\n\n"])
def test_a_judgement_is_of_a_change_in_its_line_wherever_the_line_is_and_outdated_without_it(tmp_path, file, above):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a.py").write_text(above + SOURCE)
    mutants = python_source.mutants_of("shared/a.py", (above + SOURCE).encode())
    found, outdated = equivalents.find(equivalents.read(file), mutants, tmp_path)
    assert [(one.line, one.change) for one in found] == [(4 + above.count("\n"), "0 ─► 1")]
    assert outdated == [Equivalent("shared/a.py", "result += numbers.pop(1)", "1 ─► 2", "Another.")]


def test_a_block_that_is_not_four_lines_is_refused(file):
    file.write_text(JUDGED + "and more\n")
    with pytest.raises(ValueError, match="expected file, line, change, reason"):
        equivalents.read(file)


def test_the_projects_judgements_can_be_read_and_are_sorted_by_file():
    paths = [one.path for one in equivalents.read()]
    assert paths and paths == sorted(paths)

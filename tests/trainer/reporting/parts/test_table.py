"""Tables in the report: how cells are written, and which are set in bold."""

from __future__ import annotations

import re

from trainer.reporting import html as report
from trainer.reporting.html import Report, Section
from trainer.reporting.parts.table import Table


def test_numbers_have_three_decimals_missing_ones_a_dash_and_the_largest_is_bold() -> None:
    table = Table("", ["split", "AP", "n"], [["a", 0.25, 1000], ["b", 0.5, None], ["c", float("nan"), 3]], ["AP"])
    text = report.render(Report("t", "s", [Section("x", [table])]))
    assert re.findall(r"<td[^>]*>(.*?)</td>", text) == ["0.250", "1,000", "<b>0.500</b>", "–", "–", "3"]


def test_of_equal_numbers_none_is_bold() -> None:
    table = Table("", ["split", "AP"], [["a", 0.0], ["b", 0.0]], ["AP"])
    assert "<b>" not in report.render(Report("t", "s", [Section("x", [table])]))


def test_columns_of_numbers_are_set_right_and_the_first_names_the_rows() -> None:
    table = Table("", ["split", "AP", "task"], [[1, 0.25, "train"], [2, None, 7]], note="below")
    text = report.render(Report("t", "s", [Section("x", [table])]))
    assert re.findall(r'<th scope="row">(.*?)</th>', text) == ["1", "2"]
    assert re.findall(r"<t[hd][^>]* class=\"number\">(.*?)<", text) == ["AP", "0.250", "–"]
    assert text.index("</table>") < text.index('<p class="note">below</p>')

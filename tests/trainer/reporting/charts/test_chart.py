"""What charts say: numbers as people write them, names in one line."""

from __future__ import annotations

import math

import pytest

from trainer.reporting.charts import LineChart, Series
from trainer.reporting.charts.chart import described, last, number, plain


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.12345, "0.123"), (12.0, "12"), (12345.0, "12,345"), (2e-4, "2e-4"), (3.1e7, "3.1e7")],
)
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert number(value) == text


def test_what_is_no_number_is_a_dash() -> None:
    assert {number(value) for value in (math.nan, math.inf, -math.inf)} == {"–"}
    assert last([1.0, 2.0, math.inf, math.nan]) == 2.0


@pytest.mark.parametrize(
    ("name", "line"),
    [("red  star\n", "red star"), ("nul\x00", "nul\ufffd"), ("half \ud83d", "half \ufffd"), ("<b>&amp;", "<b>&amp;")],
)
def test_a_name_is_one_line_of_characters_that_a_page_can_hold(name: str, line: str) -> None:
    assert plain(name) == line


def test_a_chart_is_described_by_its_title_and_what_its_lines_end_with() -> None:
    chart = LineChart("Losses", "steps", [Series("a", [2.0, 0.5], [1, 2]), Series("b", [math.nan], [1])])
    assert described(chart) == "Losses: a ends at 0.5; b ends at –"

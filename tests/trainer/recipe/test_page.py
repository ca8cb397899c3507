"""The recipe's report: what of the steps' results becomes which section, and how all of it looks in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.browser import open_page
from tests.trainer.recipe.finished import write
from trainer.recipe.outcome import outcome
from trainer.recipe.page import page
from trainer.reporting import html
from trainer.reporting.charts.style import COLOURS
from trainer.reporting.html import Report
from trainer.reporting.parts.curves import Curves
from trainer.reporting.parts.figure import Figure
from trainer.reporting.parts.gallery import Gallery
from trainer.reporting.parts.table import Table
from trainer.reporting.parts.text import Text


@pytest.fixture
def report(tmp_path: Path) -> Report:
    recipe, entries = write(tmp_path)
    folder = tmp_path.joinpath
    return page(recipe, outcome(recipe, folder), folder, entries)


def test_every_step_has_its_section(report: Report) -> None:
    assert [section.title for section in report.sections] == [
        "Results",
        "Training: cln",
        "Training: stage_2",
        "Other measurements",
        "Calibration: counts",
        "Mistakes: both",
        "Precision by recall: both",
        "Pictures: both",
        "Steps",
    ]
    assert report.facts["seed"] == "7" and report.facts["recipe"].endswith("recipe.py")


def test_sections_have_the_parts_that_belong_there(report: Report) -> None:
    results, training, _, others, calibration, mistakes, curves, pictures, steps = (
        section.parts for section in report.sections
    )
    assert [type(part) for part in (*results, *others, *steps)] == [Table] * 3
    assert [type(part) for part in training] == [Figure] * 3
    assert [type(part) for part in calibration] == [Text, Figure, Figure]
    assert [type(part) for part in mistakes] == [Table, *[Gallery] * 3]
    assert [type(part) for part in curves] == [Figure, Curves, Curves]
    assert [type(part) for part in pictures] == [Gallery] * 2


def test_the_table_of_results_has_a_row_for_each_reading_and_the_headings_of_the_recipe(report: Report) -> None:
    (table,) = report.sections[0].parts
    assert isinstance(table, Table)
    assert list(table.header) == ["", "AP50 seen names"]
    assert [list(row) for row in table.rows] == [["two stages", 0.61], ["two stages, calibrated", 0.72]]
    assert table.best == ["AP50 seen names"]


def test_a_calibration_says_what_it_counted(report: Report) -> None:
    text, counts, _ = report.sections[4].parts
    assert isinstance(text, Text) and isinstance(counts, Figure)
    assert text.text.startswith("43 detections in 6 images, gamma 0.3; 1 of 3 names were never detected")
    before, after = counts.chart.series
    assert list(before.y) == [40, 3, 0] and list(after.y) == [6, 6, 0]


def test_a_browser_shows_it_on_a_wide_and_on_a_narrow_screen(report: Report, tmp_path: Path) -> None:
    html.write(report, tmp_path / "report.html")
    for width in (1200, 500):
        console, shown = open_page(tmp_path / "report.html", tmp_path / f"{width}.png", width, 3000)
        assert console == []
        blue = np.array([int(COLOURS[0][place : place + 2], 16) for place in (1, 3, 5)])
        assert (shown[..., :3] == blue).all(-1).sum() > 500
        # Nothing reaches over the edge of the page, whose ground is light.
        assert (shown[:, -8:, :3] > 200).all()

"""Charts: where values lie, which are written beside the axes, and that both canvases draw the same."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.reporting import charts
from trainer.reporting.charts import BarChart, LineChart, Series
from trainer.reporting.charts.axis import Axis, logarithmic_ticks, ticks
from trainer.reporting.charts.canvas import PNG_SCALE, PngCanvas, shortened, width_of
from trainer.reporting.charts.chart import number
from trainer.reporting.charts.layout import COLOURS, HEIGHT, WIDTH


def lines_of(text: str, colour: str) -> list[list[tuple[float, float]]]:
    """The points of the thin lines of a colour in an SVG."""
    found = re.findall(rf'<polyline points="([^"]+)" fill="none" stroke="{colour}" stroke-width="1.8"', text)
    return [[tuple(map(float, point.split(","))) for point in points.split()] for points in found]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.37, 0.41, [0.37, 0.38, 0.39, 0.4, 0.41]),
        (1.0, 1000.0, [200.0, 400.0, 600.0, 800.0, 1000.0]),
        (-3.0, 4.0, [-2.0, 0.0, 2.0, 4.0]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_logarithmic_ticks_are_powers_of_ten_or_finer_where_there_are_few() -> None:
    assert logarithmic_ticks(0.02, 300) == [0.1, 1, 10, 100]
    assert logarithmic_ticks(1.5, 40) == [3, 10, 30]
    assert len(logarithmic_ticks(1e-12, 1e12)) <= 9


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.12345, "0.123"), (12.0, "12"), (12345.0, "12,345"), (2e-4, "2e-4"), (3.1e7, "3.1e7")],
)
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert number(value) == text


def test_values_lie_where_the_axis_says() -> None:
    assert Axis(0, 10, 100, 200).place(5) == 150
    assert Axis(1, 100, 0, 100, logarithmic=True).place(10) == pytest.approx(50)
    assert Axis(0, 1, 200, 100).place(0.25) == 175  # upwards


def test_a_line_goes_through_its_points_from_left_to_right_and_upwards() -> None:
    text = charts.svg(LineChart("t", "steps", [Series("a", [1.0, 3.0, 2.0], [0, 5, 10])]))
    (line,) = lines_of(text, COLOURS[0])
    xs, ys = zip(*line, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[1] < ys[2] < ys[0]
    assert ys[0] - ys[2] == pytest.approx((ys[0] - ys[1]) / 2, abs=0.2)


def test_missing_values_are_gaps_and_on_a_logarithmic_axis_zeros_too() -> None:
    gap = Series("a", [1.0, 2.0, math.nan, 4.0, 5.0], range(5))
    assert [len(line) for line in lines_of(charts.svg(LineChart("t", "x", [gap])), COLOURS[0])] == [2, 2]
    zero = Series("a", [1.0, 2.0, 0.0, 4.0, 5.0], range(5))
    assert [len(line) for line in lines_of(charts.svg(LineChart("t", "x", [zero], True)), COLOURS[0])] == [2, 2]


@pytest.mark.parametrize("y", [[0.5], [0.0, 0.0], [math.nan, math.nan], [-1.0, -1.0], [1e-9, 1e9]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_odd_values_are_drawn_within_the_chart(y: list[float], logarithmic: bool) -> None:
    text = charts.svg(LineChart("t", "x", [Series("a", y, range(len(y)))], logarithmic))
    assert "nan" not in text.replace("–", "")
    for line in lines_of(text, COLOURS[0]):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)


def test_the_legend_names_each_line_with_its_last_value() -> None:
    text = charts.svg(
        LineChart("t", "x", [Series("AR@100", [0.1, 0.721], [1, 2]), Series("b", [5.0, math.nan], [1, 2])])
    )
    assert re.search(r">AR@100<.*>0\.721<.*>b<.*>5<", text)


def test_bars_are_as_long_as_their_values() -> None:
    text = charts.svg(BarChart("t", "n", ["cat", "dog"], [Series("before", [10, 5])]))
    _, *bars = (float(w) for w in re.findall(rf'<rect [^>]*width="([^"]+)"[^>]*fill="{COLOURS[0]}"', text))
    assert bars[0] == pytest.approx(2 * bars[1], abs=0.2) and bars[0] > 300
    text = charts.svg(BarChart("t", "n", ["cat", "dog", "cow"], [Series("before", [100, 10, 0])], logarithmic=True))
    _, *bars = (float(w) for w in re.findall(rf'<rect [^>]*width="([^"]+)"[^>]*fill="{COLOURS[0]}"', text))
    assert bars[0] > bars[1] > 50 and bars[2] == 0


def test_the_unit_of_bars_stands_below_their_ticks_and_within_the_chart() -> None:
    chart = BarChart("", "detections", ["a"], [Series("", [900])], logarithmic=True)
    text = charts.svg(chart)
    places = {words: float(y) for y, words in re.findall(r'<text [^>]*?y="([\d.]+)"[^>]*>([^<]+)</text>', text)}
    height = int(re.search(r'height="(\d+)"', text).group(1))
    assert places["1,000"] + 12 < places["detections"] < height - 6


def test_a_picture_shows_what_the_page_shows(tmp_path: Path) -> None:
    chart = LineChart("t", "steps", [Series("a", [0.0, 1.0] * 20, range(40))])
    charts.draw(tmp_path / "one.png", [chart])
    picture = np.asarray(Image.open(tmp_path / "one.png"))
    (line,) = lines_of(charts.svg(chart), COLOURS[0])
    blue = np.array([0x00, 0x72, 0xB2])
    for x, y in line[1:-1]:
        row, column = round(y * PNG_SCALE), round(x * PNG_SCALE)
        near = picture[row - 3 : row + 4, column - 3 : column + 4]
        assert (np.abs(near.astype(int) - blue) < 60).all(-1).any(), (x, y)


def test_several_charts_are_two_in_a_row(tmp_path: Path) -> None:
    chart = LineChart("t", "steps", [Series("a", [0.0, 1.0], [0, 1])])
    for count, (columns, rows) in {1: (1, 1), 2: (2, 1), 5: (2, 3)}.items():
        charts.draw(tmp_path / "all.png", [chart] * count)
        with Image.open(tmp_path / "all.png") as picture:
            assert picture.size == (columns * (WIDTH + 24) * PNG_SCALE, rows * (HEIGHT + 24) * PNG_SCALE)


def test_dashed_lines_have_gaps() -> None:
    canvas = PngCanvas(100, 20)
    canvas.line([(0, 10), (50, 10), (100, 10)], "#000000", 2, dashed=True)
    row = np.asarray(canvas.image())[20, :, 0] < 128
    assert 0.5 < row.mean() < 0.75
    assert 20 <= np.count_nonzero(np.diff(row)) <= 26


def test_text_is_cut_to_the_room_there_is() -> None:
    assert shortened("cat", 100, 11) == "cat"
    cut = shortened("a very long name of a class", 60, 11)
    assert cut.endswith("…") and width_of(cut, 11) <= 60

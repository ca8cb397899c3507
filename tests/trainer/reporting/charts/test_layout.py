"""Where values lie in a chart, and what is written beside them."""

from __future__ import annotations

import math

import pytest

from tests.trainer.reporting.charts.drawn import Drawn
from trainer.reporting.charts import BarChart, LineChart, Series
from trainer.reporting.charts.layout import HEIGHT, MARKED_POINTS, WIDTH, shortened, size
from trainer.reporting.charts.style import COLOURS

BLUE, ORANGE, *_ = COLOURS
pytestmark = pytest.mark.filterwarnings("error")
LONG = "a name that is much too long for the little room there is " * 4


def line(y: list[float], logarithmic: bool = False, bottom: float | None = None) -> LineChart:
    return LineChart("t", "steps", [Series("a", y, range(len(y)))], logarithmic, bottom)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0.37, 0.41, ["0.37", "0.38", "0.39", "0.4", "0.41"]),
        (1.0, 1000.0, ["0", "200", "400", "600", "800", "1,000"]),
        (-3.0, 4.0, ["-2", "0", "2", "4"]),
    ],
)
def test_round_numbers_are_written_beside_the_values(low: float, high: float, expected: list[str]) -> None:
    assert Drawn(line([low, high])).beside("y") == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.02, 300, ["0.1", "1", "10", "100"]),
        (1.5, 12, ["2", "5", "10"]),
        (1.5, 100, ["3", "10", "30", "100"]),
        (3.1, 3.9, ["3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9"]),
    ],
)
def test_beside_a_logarithmic_axis_are_powers_of_ten_or_finer_where_there_are_few(
    low: float, high: float, expected: list[str]
) -> None:
    assert Drawn(line([low, high], True)).beside("y") == expected
    assert len(Drawn(line([1e-12, 1e12], True)).beside("y")) <= 9


def test_steps_are_whole_numbers_also_where_there_is_one() -> None:
    assert Drawn(LineChart("t", "steps", [Series("a", [0.5], [3])])).beside("x") == ["3"]
    assert Drawn(line([0.5, 0.6])).beside("x") == ["0", "1"]


def test_a_line_goes_through_its_points_from_left_to_right_and_upwards() -> None:
    drawn = Drawn(LineChart("t", "steps", [Series("a", [1.0, 3.0, 2.0], [0, 5, 10])]))
    (points,) = drawn.lines(BLUE)
    xs, ys = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[1] < ys[2] < ys[0]
    assert ys[0] - ys[2] == pytest.approx((ys[0] - ys[1]) / 2, abs=0.2)
    assert [round(y) for _, y in drawn.marks(BLUE)] == [round(y) for y in ys]


def test_a_logarithmic_axis_has_the_same_room_for_every_power_of_ten() -> None:
    (points,) = Drawn(line([1.0, 10.0, 100.0], True)).lines(BLUE)
    ys = [y for _, y in points]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.1) and ys[0] > ys[1] + 50


def test_an_axis_starts_where_it_is_told_to_unless_a_value_is_below() -> None:
    assert Drawn(line([0.5, 0.7], bottom=0.0)).beside("y")[0] == "0"
    assert Drawn(line([0.5, 0.7])).beside("y")[0] == "0.5"
    assert Drawn(line([-0.5, 0.7], bottom=0.0)).beside("y")[0].startswith("-")


def test_missing_values_are_gaps_and_on_a_logarithmic_axis_zeros_too() -> None:
    assert [len(part) for part in Drawn(line([1.0, 2.0, math.nan, 4.0, 5.0])).lines(BLUE)] == [2, 2]
    assert [len(part) for part in Drawn(line([1.0, 2.0, -math.inf, 4.0, 5.0])).lines(BLUE)] == [2, 2]
    assert [len(part) for part in Drawn(line([1.0, 2.0, 0.0, 4.0, 5.0], True)).lines(BLUE)] == [2, 2]


@pytest.mark.parametrize("y", [[0.5], [0.0, 0.0], [math.nan, math.inf], [-1.0, -1.0], [1e-9, 1e9], [], [1e30, 2.0]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_odd_values_are_drawn_within_the_chart(y: list[float], logarithmic: bool) -> None:
    drawn = Drawn(line(y, logarithmic))
    shown = [point for part in drawn.lines(BLUE) for point in part] + drawn.marks(BLUE)
    assert bool(shown) == any(math.isfinite(value) and (value > 0 or not logarithmic) for value in y)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in shown)


def test_a_chart_of_nothing_has_axes_from_0_to_1() -> None:
    for logarithmic in (False, True):
        drawn = Drawn(line([math.nan, math.inf], logarithmic))
        assert drawn.beside("y") == ["0", "0.2", "0.4", "0.6", "0.8", "1"] and drawn.beside("x") == ["0", "1"]


def test_few_points_are_marked_of_many_only_those_without_a_neighbour() -> None:
    assert len(Drawn(line([1.0] * MARKED_POINTS)).marks(BLUE)) == MARKED_POINTS
    assert Drawn(line([1.0] * (MARKED_POINTS + 1))).marks(BLUE) == []
    alone = [*[math.nan, 2.0, math.nan] * 20, 1.0, 1.0]
    assert len(Drawn(line(alone)).marks(BLUE)) == 20


def test_the_legend_names_each_line_with_its_last_value() -> None:
    drawn = Drawn(LineChart("t", "x", [Series("AR@100", [0.1, 0.721], [1, 2]), Series("b", [5.0, math.nan], [1, 2])]))
    assert [text for text, *_ in drawn.texts[-4:]] == ["AR@100", "0.721", "b", "5"]
    name, value, below, _ = drawn.texts[-4:]
    assert name[2] == pytest.approx(value[2], abs=2) and name[1] < value[1] and below[2] > name[2] + 10


def test_the_eighth_line_and_those_after_it_are_dashed() -> None:
    chart = LineChart("t", "x", [Series(f"line {i}", [i, i + 1], [0, 1]) for i in range(9)])
    drawn = Drawn(chart)
    assert [drawn.dashed(colour) for colour in COLOURS] == [True, True, False, False, False, False, False]
    assert all(len(drawn.lines(colour)) == count for colour, count in zip(COLOURS, (2, 2, 1, 1, 1, 1, 1), strict=True))


def test_the_legend_of_many_lines_stays_within_the_chart() -> None:
    drawn = Drawn(LineChart("t", "x", [Series(f"line {i}", [i, i + 1], [0, 1]) for i in range(40)]))
    rows = [y for text, _, y in drawn.texts if text.startswith("line")]
    assert len(rows) == 40 and min(rows) > 40 and max(rows) < HEIGHT - 40


def test_bars_are_as_long_as_their_values() -> None:
    long, short = Drawn(BarChart("t", "n", ["cat", "dog"], [Series("before", [10, 5])])).bars(BLUE)
    assert long == pytest.approx(2 * short, abs=0.2) and long > 300
    chart = BarChart("t", "n", ["cat", "dog", "cow"], [Series("before", [100, 10, 0])], logarithmic=True)
    long, short, none = Drawn(chart).bars(BLUE)
    assert long > short > 50 and none == 0


def test_each_bar_has_its_value_and_each_series_its_colour_and_name() -> None:
    chart = BarChart("t", "n", ["cat", "dog"], [Series("before", [12345, 0]), Series("after", [7, math.nan])])
    drawn = Drawn(chart)
    texts = [text for text, *_ in drawn.texts]
    assert "12,345" in texts and "7" in texts and "nan" not in "".join(texts)
    assert texts[-2:] == ["before", "after"]
    assert drawn.bars(BLUE)[0] > 300 and drawn.bars(ORANGE)[1] == 0


def test_a_bar_without_length_has_its_value_on_a_logarithmic_axis_too() -> None:
    chart = BarChart("t", "n", ["cat", "dog", "cow"], [Series("before", [100, 0, 0])], logarithmic=True)
    assert [text for text, *_ in Drawn(chart).texts].count("0") == 2


@pytest.mark.parametrize("values", [[0, 0], [math.nan, math.inf], [1e-9, 1e9]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_odd_bars_stay_within_the_chart(values: list[float], logarithmic: bool) -> None:
    bars = Drawn(BarChart("t", "n", ["cat", "dog"], [Series("before", values)], logarithmic)).bars(BLUE)
    assert all(0 <= length <= WIDTH - 200 for length in bars)


def test_the_unit_of_bars_stands_below_their_ticks_and_within_the_chart() -> None:
    chart = BarChart("", "detections", ["a"], [Series("", [900])], logarithmic=True)
    places = {text: y for text, _, y in Drawn(chart).texts}
    assert places["1,000"] + 12 < places["detections"] < size(chart)[1] - 6


def test_long_names_are_cut_to_the_room_there_is() -> None:
    lines = Drawn(LineChart(LONG, "x", [Series(LONG, [1.0], [1])]))
    bars = Drawn(BarChart(LONG, "x", [LONG], [Series(LONG, [1.0]), Series(LONG, [2.0])]))
    cut = [text for text, *_ in lines.texts + bars.texts if text.startswith("a name")]
    assert len(cut) == 6 and all(text.endswith("…") for text in cut)
    assert len({len(text) for text in cut}) > 2  # a title has more room than a name


@pytest.mark.parametrize("text", ["cat", LONG, "i" * 100_000, ""])
def test_text_is_cut_to_the_width_that_is_asked_for(text: str) -> None:
    cut = shortened(text, 100, 11)
    assert cut == text if len(text) < 10 else cut.endswith("…") and 10 < len(cut) < 40

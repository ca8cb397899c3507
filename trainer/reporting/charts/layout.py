"""Where everything in a chart lies."""

from __future__ import annotations

import math

from trainer.reporting.charts.axis import Axis
from trainer.reporting.charts.canvas import FONT, SMALL_FONT, Canvas, Point, shortened, width_of
from trainer.reporting.charts.chart import BarChart, Chart, LineChart, Series, last, number

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
INK, MUTED, GRID = "#1f2328", "#59636e", "#e4e7ea"
WIDTH, HEIGHT = 640, 300
ROW_HEIGHT, BAR_ROOM = 26, 20  # of a bar chart's row, and what its bars take of it
MARKED_POINTS = 30  # a line of at most so many points shows them


def size(chart: Chart) -> tuple[int, int]:
    """Width and height of a chart in pixels of the page."""
    if isinstance(chart, LineChart):
        return WIDTH, HEIGHT
    return WIDTH, 98 + len(chart.names) * ROW_HEIGHT


def lay_out(chart: Chart, canvas: Canvas) -> None:
    """Draws `chart` on `canvas`."""
    if isinstance(chart, LineChart):
        _lay_out_lines(chart, canvas)
    else:
        _lay_out_bars(chart, canvas)


def _lay_out_lines(chart: LineChart, canvas: Canvas) -> None:
    left, right, upper, lower = 62.0, WIDTH - 186.0, 40.0, HEIGHT - 44.0
    x_axis, y_axis = _axes(chart, left, right, upper, lower)
    canvas.text(12, 16, chart.title, FONT + 1, INK)
    for value in y_axis.ticks():
        y = y_axis.place(value)
        canvas.line([(left, y), (right, y)], GRID, 1)
        canvas.text(left - 8, y, number(value), SMALL_FONT, MUTED, "end")
    for value in x_axis.ticks():
        x = x_axis.place(value)
        canvas.line([(x, lower), (x, lower + 4)], MUTED, 1)
        canvas.text(x, lower + 14, f"{value:,g}", SMALL_FONT, MUTED, "middle")
    canvas.line([(left, lower), (right, lower)], MUTED, 1)
    canvas.text((left + right) / 2, lower + 32, chart.x_label, SMALL_FONT, MUTED, "middle")
    for index, series in reversed(list(enumerate(chart.series))):
        colour, dashed = COLOURS[index % len(COLOURS)], index >= len(COLOURS)
        for part in _unbroken(series, x_axis, y_axis):
            if len(part) > 1:
                canvas.line(part, colour, 1.8, dashed)
            if len(part) == 1 or len(series.y) <= MARKED_POINTS:
                for x, y in part:
                    canvas.circle(x, y, 3 if len(series.y) <= MARKED_POINTS else 1, colour)
    row = min(20.0, (lower - upper) / max(len(chart.series), 1))
    for index, series in enumerate(chart.series):
        y = upper + (index + 0.5) * row
        colour, dashed = COLOURS[index % len(COLOURS)], index >= len(COLOURS)
        canvas.line([(right + 14, y), (right + 32, y)], colour, 3, dashed)
        canvas.text(right + 38, y, shortened(series.name, 100, SMALL_FONT), SMALL_FONT, INK)
        canvas.text(WIDTH - 8, y, number(last(series.y)), SMALL_FONT, MUTED, "end")


def _axes(chart: LineChart, left: float, right: float, upper: float, lower: float) -> tuple[Axis, Axis]:
    """The axes of x and of the values, with a little room around what is shown."""
    pairs = [
        (x, y)
        for series in chart.series
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(y) and (y > 0 or not chart.logarithmic)
    ] or [(0.0, 1.0)]
    xs, ys = zip(*pairs, strict=True)
    low, high = min(ys), max(ys)
    if chart.logarithmic:
        low, high = low / 1.15, high * 1.15
    else:
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        low, high = low - room, high + room
        if chart.bottom is not None and min(ys) >= chart.bottom:
            low = chart.bottom
    first, last = min(xs), max(xs)
    if first == last:
        first, last = first - 1, last + 1
    return Axis(first, last, left, right), Axis(low, high, lower, upper, chart.logarithmic)


def _unbroken(series: Series, x_axis: Axis, y_axis: Axis) -> list[list[Point]]:
    """The line's points in pixels, in parts without a gap."""
    parts: list[list[Point]] = [[]]
    for x, y in zip(series.x, series.y, strict=True):
        if y_axis.shows(y):
            parts[-1].append((x_axis.place(x), y_axis.place(y)))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _lay_out_bars(chart: BarChart, canvas: Canvas) -> None:
    left, right, upper = 158.0, WIDTH - 62.0, 56.0
    thickness = min(BAR_ROOM / len(chart.series), 12.0)
    lower = upper + ROW_HEIGHT * len(chart.names)
    values = [value for series in chart.series for value in series.y if math.isfinite(value)]
    highest = max([*values, 1.0 if chart.logarithmic else 0.0]) or 1.0
    low = 0.0
    if chart.logarithmic:
        low = min([0.5, *(value / 2 for value in values if value > 0)])
        highest *= 1.3
    axis = Axis(low, highest, left, right, chart.logarithmic)
    canvas.text(12, 16, chart.title, FONT + 1, INK)
    x = 12.0
    for index, series in enumerate(chart.series):
        canvas.rectangle(x, 33, 12, 9, COLOURS[index % len(COLOURS)])
        canvas.text(x + 17, 38, series.name, SMALL_FONT, INK)
        x += 17 + width_of(series.name, SMALL_FONT) + 18
    for value in axis.ticks():
        x = axis.place(value)
        canvas.line([(x, upper), (x, lower)], GRID, 1)
        canvas.text(x, lower + 10, number(value), SMALL_FONT, MUTED, "middle")
    canvas.text((left + right) / 2, lower + 28, chart.x_label, SMALL_FONT, MUTED, "middle")
    for row, name in enumerate(chart.names):
        middle = upper + (row + 0.5) * ROW_HEIGHT
        canvas.text(left - 8, middle, shortened(name, left - 20, SMALL_FONT), SMALL_FONT, INK, "end")
        for index, series in enumerate(chart.series):
            if not math.isfinite(series.y[row]):
                continue
            value, place = series.y[row], middle + (index - len(chart.series) / 2) * thickness
            end = axis.place(value) if axis.shows(value) else left
            canvas.rectangle(left, place, max(end - left, 0.0), thickness - 1, COLOURS[index % len(COLOURS)])
            canvas.text(end + 5, place + thickness / 2, number(value), SMALL_FONT - 1, MUTED)
    canvas.line([(left, upper), (left, lower)], MUTED, 1)

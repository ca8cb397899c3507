"""Charts, laid out once and drawn on whatever has lines and letters.

    LineChart, BarChart  ──lay_out──►  a Canvas:  SvgCanvas (text for a page)   PngCanvas (a picture in a file)

A line chart has its legend on the right, each entry with the line's last value. Values that are no finite numbers, and
on a logarithmic axis those that are not positive, are gaps. Colours are Okabe and Ito's, which colour-blind people tell
apart; from the eighth line on lines are dashed.
"""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Sequence

from trainer.reporting.charts.canvas import PngCanvas, SvgCanvas
from trainer.reporting.charts.chart import BarChart, Chart, LineChart, Series, described
from trainer.reporting.charts.layout import WIDTH, lay_out, size

__all__ = ["BarChart", "Chart", "LineChart", "Series", "draw", "svg"]

GAP = 24  # between charts in one picture


def svg(chart: Chart) -> str:
    """The chart as an ``<svg>`` element that scales with the page and names itself to screen readers."""
    width, height = size(chart)
    canvas = SvgCanvas()
    lay_out(chart, canvas)
    label = html.escape(described(chart))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}" '
        f'font-family="system-ui, sans-serif">{"".join(canvas.elements)}</svg>'
    )


def draw(path: str | os.PathLike, charts: Sequence[Chart]) -> None:
    """Writes the charts as a PNG, two in a row."""
    rows = [charts[start : start + 2] for start in range(0, len(charts), 2)]
    heights = [max(size(chart)[1] for chart in row) + GAP for row in rows]
    canvas = PngCanvas(len(rows[0]) * (WIDTH + GAP), sum(heights))
    for row, bottom, height in zip(rows, itertools.accumulate(heights), heights, strict=True):
        for column, chart in enumerate(row):
            canvas.origin = (column * (WIDTH + GAP), bottom - height)
            lay_out(chart, canvas)
    canvas.image().save(path, format="PNG", optimize=True)

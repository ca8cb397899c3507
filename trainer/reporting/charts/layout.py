"""Where everything in a chart lies.

Lengths are points. Within a chart places are counted from its upper left corner, x to the right, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Affine2D, Transform

from trainer.reporting.charts.chart import BarChart, Chart, LineChart, last, number, plain
from trainer.reporting.charts.style import COLOURS, FONT, INK, MUTED, SMALL_FONT, TINY_FONT

WIDTH, HEIGHT = 640, 300
ROW_HEIGHT, BAR_ROOM = 26, 20  # of a bar chart's row, and what its bars take of it
MARKED_POINTS = 30  # a line of at most so many points shows them
POINTS_PER_INCH = 72


def size(chart: Chart) -> tuple[int, int]:
    """Width and height of a chart in points."""
    if isinstance(chart, LineChart):
        return WIDTH, HEIGHT
    return WIDTH, 98 + len(chart.names) * ROW_HEIGHT


@dataclass(frozen=True)
class Area:
    """Where one chart lies in a figure: its upper left corner, in points from the figure's."""

    figure: Figure
    left: float
    upper: float

    @property
    def places(self) -> Transform:
        """From points within the chart to the figure's pixels."""
        height = self.figure.get_figheight() * POINTS_PER_INCH
        moved = Affine2D().translate(self.left, self.upper - height)
        return moved.scale(1 / POINTS_PER_INCH, -1 / POINTS_PER_INCH) + self.figure.dpi_scale_trans

    def axes(self, left: float, right: float, upper: float, lower: float) -> Axes:
        width, height = (side * POINTS_PER_INCH for side in self.figure.get_size_inches())
        x, y = (self.left + left) / width, 1 - (self.upper + lower) / height
        return self.figure.add_axes((x, y, (right - left) / width, (lower - upper) / height))

    def text(
        self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "left", weight: int = 400
    ) -> None:
        """`y` is the middle of the letters; `anchor` is 'left' or 'right' of the text, which lies at `x`."""
        at: dict[str, Any] = {"ha": anchor, "va": "center_baseline", "transform": self.places}
        self.figure.text(x, y, text, size=size, color=colour, weight=weight, **at)


def lay_out(chart: Chart, area: Area) -> None:
    """Draws `chart` in its area."""
    area.text(12, 16, shortened(plain(chart.title), WIDTH - 64, FONT), FONT, INK, weight=600)
    if isinstance(chart, LineChart):
        _lay_out_lines(chart, area)
    else:
        _lay_out_bars(chart, area)


def _lay_out_lines(chart: LineChart, area: Area) -> None:
    left, right, upper, lower = 62.0, WIDTH - 186.0, 40.0, HEIGHT - 44.0
    axes = area.axes(left, right, upper, lower)
    axes.grid(visible=False, axis="x")
    axes.spines["left"].set_visible(False)
    lines = [_shown(series.y, chart.logarithmic) for series in chart.series]
    values = np.concatenate([line[np.isfinite(line)] for line in lines])
    for index, (series, line) in reversed(list(enumerate(zip(chart.series, lines, strict=True)))):
        marked = np.isfinite(line) if len(line) <= MARKED_POINTS else _alone(line)
        axes.plot(
            series.x,
            line,
            color=COLOURS[index % len(COLOURS)],
            linestyle=_dashes(index),
            linewidth=1.8,
            marker="o",
            markersize=6 if len(line) <= MARKED_POINTS else 2,
            markeredgewidth=0,
            markevery=np.flatnonzero(marked).tolist(),
            clip_on=False,
            zorder=3 - index / len(lines),
        )
    axes.margins(x=0, y=0.06)
    logarithmic = chart.logarithmic and len(values) > 0
    if logarithmic:
        axes.set_yscale("log")
    elif len(values) and chart.bottom is not None and values.min() >= chart.bottom:
        axes.set_ylim(bottom=chart.bottom)
    if not len(values):
        axes.set(xlim=(0, 1), ylim=(0, 1))
    _values_beside(axes.yaxis, logarithmic)
    whole = all(x == round(x) for series in chart.series for x in series.x)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}" if whole else "{x:,g}"))
    axes.set_xlabel(plain(chart.x_label), labelpad=6)
    row = min(20.0, (lower - upper) / len(lines))
    for index, series in enumerate(chart.series):
        y = upper + (index + 0.5) * row
        colour, style = COLOURS[index % len(COLOURS)], _dashes(index)
        dash = Line2D(
            [right + 14, right + 32], [y, y], color=colour, linestyle=style, linewidth=3, transform=area.places
        )
        area.figure.add_artist(dash)
        area.text(right + 38, y, shortened(plain(series.name), 100, SMALL_FONT), SMALL_FONT, INK)
        area.text(
            WIDTH - 8, y, number(last(series.y) if series.value is None else series.value), SMALL_FONT, MUTED, "right"
        )


def _lay_out_bars(chart: BarChart, area: Area) -> None:
    left, right, upper = 158.0, WIDTH - 62.0, 56.0
    lower = upper + ROW_HEIGHT * len(chart.names)
    axes = area.axes(left, right, upper, lower)
    axes.grid(visible=False, axis="y")
    axes.spines["bottom"].set_visible(False)
    bars = [_shown(series.y, False) for series in chart.series]
    values = np.concatenate([one[np.isfinite(one)] for one in bars])
    low, high = 0.0, max([*values.tolist(), 0.0]) or 1.0
    if chart.logarithmic:
        low = min([0.5, *(values[values > 0] / 2).tolist()])
        high = max(high, 1.0) * 1.3
        axes.set_xscale("log")
    thickness = min(BAR_ROOM / len(bars), 12.0)
    for index, one in enumerate(bars):
        middles = np.arange(len(one)) + (index + 0.5 - len(bars) / 2) * thickness / ROW_HEIGHT
        drawn = axes.barh(
            middles,
            np.maximum(np.nan_to_num(one), low) - low,
            (thickness - 1) / ROW_HEIGHT,
            left=low,
            color=COLOURS[index % len(COLOURS)],
            clip_on=False,
        )
        texts = [number(value) if math.isfinite(value) else "" for value in one]
        axes.bar_label(drawn, texts, padding=5, size=TINY_FONT, color=MUTED)
    axes.set_xlim(low, high)
    axes.set_ylim(len(chart.names) - 0.5, -0.5)
    names = [shortened(plain(name), left - 20, SMALL_FONT) for name in chart.names]
    axes.set_yticks(range(len(names)), names, color=INK)
    _values_beside(axes.xaxis, chart.logarithmic)
    axes.tick_params(axis="x", length=0, pad=5)
    axes.set_xlabel(plain(chart.x_label), labelpad=5)
    room = (WIDTH - 24) / len(bars) - 35
    area.figure.legend(
        [Patch(color=COLOURS[index % len(COLOURS)]) for index in range(len(bars))],
        [shortened(plain(series.name), room, SMALL_FONT) for series in chart.series],
        loc="center left",
        bbox_to_anchor=(12, 38),
        bbox_transform=area.places,
        ncols=len(bars),
        handlelength=12 / SMALL_FONT,
        handleheight=9 / SMALL_FONT,
        handletextpad=5 / SMALL_FONT,
        columnspacing=18 / SMALL_FONT,
    )


def _shown(values: Sequence[float], logarithmic: bool) -> np.ndarray:
    """The values (n,), NaN where a chart shows none."""
    found = np.asarray(values, float)
    return np.where(np.isfinite(found) & ((found > 0) | (not logarithmic)), found, np.nan)


def _alone(line: np.ndarray) -> np.ndarray:
    """Which points of a line have no neighbour, so that only a mark shows them."""
    there = np.concatenate([[False], np.isfinite(line), [False]])
    return there[1:-1] & ~there[:-2] & ~there[2:]


def _dashes(index: int) -> Literal["-"] | tuple[float, tuple[float, float]]:
    return "-" if index < len(COLOURS) else (0.0, (5.0, 3.0))


def _values_beside(axis: Axis, logarithmic: bool) -> None:
    """Writes round numbers beside an axis: powers of ten on a logarithmic one, on a short one some between them too."""
    locator: Locator = MaxNLocator(6, steps=[1, 2, 5, 10])
    if logarithmic:
        low, high = sorted(axis.get_view_interval())
        decades = math.log10(high / low)
        locator = LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3 else (1,))
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def _width_of(text: str, size: int) -> float:
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0]


def shortened(text: str, width: float, size: int) -> str:
    """`text`, cut so that it is at most `width` points wide in letters of `size`."""
    # No letter is narrower than a tenth of its height: the rest of a very long text needs no measuring.
    text, whole = text[: int(10 * width / size)], text
    if text == whole and _width_of(text, size) <= width:
        return text
    while text and _width_of(text + "…", size) > width:
        text = text[:-1]
    return text + "…"

"""What a chart shows, apart from how it looks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NOT_IN_XML = re.compile(r"[\x00-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Series:
    """A named line: `x` and `y` (n,), or the values of all of a bar chart's rows (then `x` is empty).

    Attributes:
        value: what a line's entry in the legend says; None: the last of `y`.
    """

    name: str
    y: Sequence[float]
    x: Sequence[float] = ()
    value: float | None = None


@dataclass(frozen=True)
class LineChart:
    """Lines over a common axis.

    Attributes:
        title, x_label: `x_label` says the unit of x.
        series: at least one.
        logarithmic: whether the values' axis is.
        bottom: the axis starts at this value, if no value is below it; None where the smallest value decides.
    """

    title: str
    x_label: str
    series: Sequence[Series]
    logarithmic: bool = False
    bottom: float | None = None


@dataclass(frozen=True)
class BarChart:
    """For each name a row, with a horizontal bar for each series.

    Attributes:
        title, x_label: `x_label` says the unit of the values.
        names: (rows,), from top to bottom.
        series: at least one, each with a value of 0 or more for every row.
        logarithmic: whether the values' axis is; 0 is then a bar of no length, and the axis starts below 1.
    """

    title: str
    x_label: str
    names: Sequence[str]
    series: Sequence[Series]
    logarithmic: bool = False


Chart = LineChart | BarChart


def described(chart: Chart) -> str:
    """One sentence with the chart's title and what it ends with, for those who do not see it."""
    if isinstance(chart, BarChart):
        names = ", ".join(series.name for series in chart.series)
        return plain(f"{chart.title}: {names} of {len(chart.names)} rows")
    ends = (
        f"{series.name} ends at {number(last(series.y))}"
        if series.value is None
        else f"{series.name} {number(series.value)}"
        for series in chart.series
    )
    return plain(f"{chart.title}: {'; '.join(ends)}")


def plain(text: str) -> str:
    """A name in one line, without the characters that XML cannot hold."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def number(value: float) -> str:
    """A value as people write it, with three significant digits."""
    if not math.isfinite(value):
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def last(values: Sequence[float]) -> float:
    """The last value that is a finite number; NaN where none is."""
    return next((value for value in reversed(values) if math.isfinite(value)), math.nan)

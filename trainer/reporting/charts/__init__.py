"""Charts of a run: what they show, and how matplotlib draws them.

    LineChart, BarChart  ──►  svg: text for a page    draw: a picture in a file

A line chart has its legend on the right, each entry with the line's last value, or what the series says instead. Values
that are no finite numbers, and on a logarithmic axis those that are not positive, are gaps. Colours are Okabe and
Ito's, which colour-blind people tell apart; from the eighth line on lines are dashed. The same chart gives the same
bytes.

matplotlib is imported when the first chart is drawn: a training need not wait for it at its start.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trainer.reporting.charts.chart import BarChart, Chart, LineChart, Series

__all__ = ["BarChart", "Chart", "LineChart", "Series", "draw", "svg"]


def svg(chart: Chart) -> str:
    """The chart as an ``<svg>`` element that scales with the page and names itself to screen readers."""
    with _quiet():
        from trainer.reporting.charts import figure

        return figure.svg(chart)


def draw(path: str | os.PathLike[str], charts: Sequence[Chart]) -> None:
    """Writes the charts as a PNG, two in a row."""
    with _quiet():
        from trainer.reporting.charts import figure

        figure.draw(path, charts)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps from users what is none of their concern."""
    # Where its cache cannot be written, matplotlib uses a temporary folder.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Jittor's kernels have the processor take subnormal numbers for zero, which numpy notes when matplotlib asks.
        warnings.filterwarnings("ignore", "The value of the smallest subnormal")
        # A page has every letter, a picture those of its font; one that is missing is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield

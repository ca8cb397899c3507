"""Charts of a run: what they show, and how matplotlib draws them.

    LineChart, BarChart  ──►  svg: text for a page    draw: a picture in a file

A line chart has its legend on the right, each entry with the line's last value. Values that are no finite numbers, and
on a logarithmic axis those that are not positive, are gaps. Colours are Okabe and Ito's, which colour-blind people tell
apart; from the eighth line on lines are dashed. The same chart gives the same bytes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from trainer.reporting.charts.chart import BarChart, Chart, LineChart, Series

__all__ = ["BarChart", "Chart", "LineChart", "Series", "draw", "svg"]

# matplotlib takes half a second to import, which a training shall not wait for at its start. Where its cache cannot be
# written it uses a temporary folder, which is nothing to warn a user of.


def svg(chart: Chart) -> str:
    """The chart as an ``<svg>`` element that scales with the page and names itself to screen readers."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from trainer.reporting.charts import figure

    return figure.svg(chart)


def draw(path: str | os.PathLike[str], charts: Sequence[Chart]) -> None:
    """Writes the charts as a PNG, two in a row."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from trainer.reporting.charts import figure

    figure.draw(path, charts)

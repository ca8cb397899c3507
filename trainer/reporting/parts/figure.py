"""A chart in the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from trainer.reporting import charts


@dataclass(frozen=True)
class Figure:
    """A chart; those that follow each other stand side by side where there is room."""

    TEMPLATE: ClassVar[str] = '<figure class="chart">{{ part.svg() }}</figure>'

    chart: charts.Chart

    def svg(self) -> Markup:
        return Markup(charts.svg(self.chart))

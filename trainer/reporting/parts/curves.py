"""Rows that unfold in the report: a line of figures each, and behind it a curve of precision by recall and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from trainer.reporting.parts.gallery import FIGURE, Picture
from trainer.reporting.parts.table import Cell, written


@dataclass(frozen=True)
class Curve:
    """A row.

    Attributes:
        cells: (columns,), the first names the row.
        precisions: at equally spaced recalls from 0 to 1; empty where there is none.
        pictures: of its mistakes.
        note: below the pictures.
    """

    cells: Sequence[Cell]
    precisions: Sequence[float]
    pictures: Sequence[Picture]
    note: str

    @property
    def shown(self) -> list[str]:
        """The cells as they are written."""
        return [written(cell) for cell in self.cells]

    def path(self) -> str:
        """The curve in SVG's words, 200 wide and 100 high, without the points that lie on a line between others."""
        last = len(self.precisions) - 1
        points = [(round(200 * place / last), round(100 - 100 * y, 1)) for place, y in enumerate(self.precisions)]
        bends = [
            point
            for before, point, after in zip(points, points[1:], points[2:], strict=False)
            if not before[1] == point[1] == after[1]
        ]
        return "M" + "L".join(f"{x} {y:g}" for x, y in [points[0], *bends, points[-1]])


@dataclass(frozen=True)
class Curves:
    """Rows under a header; a click, Enter or the space bar shows what is behind one.

    Attributes:
        header: (columns,).
        note: above them.
    """

    TEMPLATE: ClassVar[str] = (
        """
<h3>{{ part.title }}</h3>
{% if part.note %}
<p class="note">{{ part.note }}</p>
{% endif %}
<div class="curves" style="--columns: {{ part.header|length - 1 }}">
<p class="head" aria-hidden="true">
{%- for name in part.header %}<span>{{ name }}</span>{% endfor -%}
</p>
{% for row in part.rows %}
{% set shown = row.shown %}
<details>
<summary aria-label="{{ shown[0] }}
  {%- for cell in shown[1:] %}, {{ part.header[loop.index] }} {{ cell }}{% endfor %}">
{%- for cell in shown %}<span>{{ cell }}</span>{% endfor -%}
</summary>
<div class="behind">
{% if row.precisions|length %}
<svg viewBox="-34 -12 250 142" role="img" aria-label="Precision by recall: {{ shown[0] }}">
<path class="grid" d="M0 0H200M0 50H200M0 100H200M0 100V103M100 100V103M200 100V103"/>
<path class="line" d="{{ row.path() }}"/>
<text x="-5" y="3" text-anchor="end">1</text><text x="-5" y="53" text-anchor="end">0.5</text>
<text x="-5" y="103" text-anchor="end">0</text><text x="0" y="114" text-anchor="middle">0</text>
<text x="100" y="114" text-anchor="middle">0.5</text><text x="200" y="114" text-anchor="middle">1</text>
<text x="100" y="127" text-anchor="middle">precision by recall</text>
</svg>
{% endif %}
{% for picture in row.pictures %}
"""
        + FIGURE
        + """{% endfor %}
</div>
<p class="note">{{ row.note }}</p>
</details>
{% endfor %}
</div>
"""
    )

    title: str
    header: Sequence[str]
    rows: Sequence[Curve]
    note: str = ""

"""A table in the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

Cell = str | int | float | None


class Shown(NamedTuple):
    """A cell as it is written: `best` in bold."""

    text: str
    best: bool


@dataclass(frozen=True)
class Table:
    """Rows under a header; floats get three decimals, None and NaN a dash.

    Attributes:
        title: above the table; may be empty.
        header: (columns,).
        rows: each (columns,); the first column names the row.
        best: columns, by their header, whose largest number is set in bold.
        note: below the table.
    """

    TEMPLATE: ClassVar[str] = """
{% set numeric = part.numeric %}
<div class="table">
<table>
{% if part.title %}
  <caption>{{ part.title }}</caption>
{% endif %}
  <thead>
    <tr>
{% for name in part.header %}
      <th scope="col"{% if numeric[loop.index0] %} class="number"{% endif %}>{{ name }}</th>
{% endfor %}
    </tr>
  </thead>
  <tbody>
{% for row in part.shown %}
    <tr>
      <th scope="row">{{ row[0].text }}</th>
{% for cell in row[1:] %}
      <td{% if numeric[loop.index] %} class="number"{% endif %}>
        {%- if cell.best %}<b>{{ cell.text }}</b>{% else %}{{ cell.text }}{% endif -%}
      </td>
{% endfor %}
    </tr>
{% endfor %}
  </tbody>
</table>
</div>
{% if part.note %}
<p class="note">{{ part.note }}</p>
{% endif %}
"""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    best: Sequence[str] = ()
    note: str = ""

    @property
    def numeric(self) -> list[bool]:
        """(columns,), whether a column holds numbers, which are set right."""
        return [
            column > 0 and not any(isinstance(row[column], str) for row in self.rows)
            for column in range(len(self.header))
        ]

    @property
    def shown(self) -> list[list[Shown]]:
        """The rows as they are written."""
        largest = {
            column: _largest([row[column] for row in self.rows])
            for column, name in enumerate(self.header)
            if name in self.best
        }
        return [
            [Shown(written(cell), cell is not None and cell == largest.get(column)) for column, cell in enumerate(row)]
            for row in self.rows
        ]


def written(cell: Cell) -> str:
    """A cell as text: floats with three decimals, None and NaN as a dash."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    return f"{cell:.3f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell


def _largest(cells: Sequence[Cell]) -> float | None:
    """The largest of several numbers; None where none is larger than another."""
    numbers = [cell for cell in cells if isinstance(cell, int | float) and not math.isnan(cell)]
    return max(numbers) if len(set(numbers)) > 1 else None

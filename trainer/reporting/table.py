"""A table in a terminal, or as plain text where the output goes elsewhere, or through mpirun.

On a terminal the header is bold, and text that is too wide is folded between words. Anywhere else nothing is folded,
and the text holds no control characters::

    proposals      AR  images
    ----------  -----  ------
    10          0.123       5
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from shared.terminal import one_line
from trainer.process import ranks

GAP = 2  # spaces between columns
WIDEST = 100_000  # no table has more letters in a line

Cell = str | int | float


def table(rows: Sequence[Sequence[Cell]]) -> str:
    """The rows as text for stdout; the first one is the header.

    Text is set left, numbers right, floats with three decimals.
    """
    console = Console(force_terminal=False if ranks.launched() else None)
    header, *body = rows
    grid = Table.grid(padding=(0, GAP))
    for column in zip(*(body or [header]), strict=True):
        numeric = not any(isinstance(cell, str) for cell in column)
        grid.add_column(justify="right" if numeric else "left")
    grid.add_row(*(Text(one_line(str(name)), "bold") for name in header))
    rule = Rule(characters="─" if console.is_terminal else "-", style="dim")
    grid.add_row(*[rule] * len(header))
    for row in body:
        grid.add_row(*(Text(f"{cell:.3f}" if isinstance(cell, float) else one_line(str(cell))) for cell in row))
    least, most = Measurement.get(console, console.options.update(width=WIDEST), grid)
    console.width = max(least, min(console.width, most)) if console.is_terminal else most
    with console.capture() as printed:
        console.print(grid)
    return "\n".join(line.rstrip() for line in printed.get().splitlines())

"""How charts look, as matplotlib's settings.

None of them outlives its use, and a user's matplotlibrc changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
INK, MUTED, GRID = "#1f2328", "#59636e", "#e4e7ea"
FONT, SMALL_FONT, TINY_FONT = 14, 11, 10

STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": SMALL_FONT,
    "text.color": INK,
    "text.parse_math": False,  # a name with a $ is a name
    "axes.edgecolor": MUTED,
    "axes.linewidth": 1,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": SMALL_FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "xtick.color": MUTED,
    "xtick.labelsize": SMALL_FONT,
    "xtick.major.width": 1,
    "ytick.color": MUTED,
    "ytick.labelsize": SMALL_FONT,
    "ytick.major.size": 0,
    "ytick.major.pad": 8,
    "lines.scale_dashes": False,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "svg.fonttype": "none",
}


@contextmanager
def applied(more: dict[RcKeyType, Any]) -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | more)
        yield

"""Charts as matplotlib draws them, for a page (SVG) or as a picture (PNG).

A point, of which `trainer.reporting.charts.layout` speaks, is one pixel of the page and `PNG_SCALE` of a picture.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from matplotlib.figure import Figure

from shared.files import save
from trainer.reporting.charts import style
from trainer.reporting.charts.chart import Chart, described
from trainer.reporting.charts.layout import POINTS_PER_INCH, WIDTH, Area, lay_out, size
from trainer.reporting.png import COMPRESS_LEVEL

GAP = 24  # between charts in one picture
PNG_SCALE = 2
PAGE_FONT = "system-ui"  # in place of the font that matplotlib brings along

_DECIMALS = re.compile(r"(\.\d\d)\d+")


def svg(chart: Chart) -> str:
    """The chart as an ``<svg>`` element that scales with the page and names itself to screen readers."""
    width, height = size(chart)
    content = io.StringIO()
    # Identifiers, which the charts of one page share, are made of this and of what they name.
    with style.applied({"svg.hashsalt": hashlib.sha256(repr(chart).encode()).hexdigest()}):
        figure = _figure(width, height, "none")
        lay_out(chart, Area(figure, 0, 0))
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", dpi=POINTS_PER_INCH, metadata=nothing)
    root = _for_page(content.getvalue())
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "width": str(width),
        "height": str(height),
        "role": "img",
        "aria-label": described(chart),
        "stroke-linejoin": "round",
    }
    return ElementTree.tostring(root, encoding="unicode")


def draw(path: str | os.PathLike[str], charts: Sequence[Chart]) -> None:
    """Writes the charts as a PNG, two in a row. Raises UserError when it cannot be written."""
    rows = [charts[start : start + 2] for start in range(0, len(charts), 2)]
    heights = [max(size(chart)[1] for chart in row) + GAP for row in rows]
    with style.applied({}):
        figure = _figure(len(rows[0]) * (WIDTH + GAP), sum(heights), "white")
        for row, upper in zip(rows, itertools.accumulate(heights, initial=0), strict=False):
            for column, chart in enumerate(row):
                lay_out(chart, Area(figure, column * (WIDTH + GAP), upper))
        content = io.BytesIO()
        figure.savefig(
            content,
            format="png",
            dpi=PNG_SCALE * POINTS_PER_INCH,
            metadata={"Software": None},
            pil_kwargs={"compress_level": COMPRESS_LEVEL},
        )
    save(Path(path), content.getvalue())


def _figure(width: float, height: float, colour: str) -> Figure:
    return Figure((width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH, facecolor=colour)


def _for_page(document: str) -> ElementTree.Element:
    """matplotlib's SVG as an element inside an HTML page: in the page's font, without a style sheet, names of groups
    and namespaces, with two decimals where matplotlib has six."""
    root = ElementTree.fromstring(document)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.tail = None
        if element.tag == "g":
            element.attrib.pop("id", None)
        if "d" in element.attrib:
            element.attrib["d"] = _DECIMALS.sub(r"\1", " ".join(element.attrib["d"].split()))
        if element.tag == "text":
            element.attrib["style"] = element.attrib["style"].replace("'DejaVu Sans'", PAGE_FONT)
        else:
            element.text = None
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "style":
                parent.remove(child)
    return root

"""What a chart's SVG shows, read back from it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from trainer.reporting import charts
from trainer.reporting.charts import Chart

Points = list[tuple[float, float]]


class Drawn:
    """An SVG, in pixels of the page.

    Attributes:
        texts: (text, x, y) in the order of the file; y is the letters' base line.
    """

    def __init__(self, chart: Chart) -> None:
        self.root = ElementTree.fromstring(charts.svg(chart))
        self.texts = [
            (one.text or "", float(one.attrib["x"]), float(one.attrib["y"])) for one in self.root.iter("text")
        ]

    def lines(self, colour: str) -> list[Points]:
        """The unbroken parts of a colour's line."""
        found = []
        for path in self._paths(f"stroke: {colour}; stroke-width: 1.8"):
            found += [_points(part) for part in path.split("M")[1:]]
        return found

    def dashed(self, colour: str) -> bool:
        return any("stroke-dasharray" in one.attrib["style"] for one in self._elements(f"stroke: {colour}", "path"))

    def marks(self, colour: str) -> Points:
        """Where points of a line are marked."""
        return [(float(one.attrib["x"]), float(one.attrib["y"])) for one in self._elements(f"fill: {colour}", "use")]

    def bars(self, colour: str) -> list[float]:
        """The lengths of a colour's bars, from top to bottom; the mark in the legend, which comes last, is none."""
        spans = [np.ptp(np.array(_points(path)), axis=0) for path in self._paths(f"fill: {colour}")]
        return [float(width) for width, _ in spans[:-1]]

    def beside(self, axis: str) -> list[str]:
        """The values that are written beside an axis of a line chart."""
        return [text for text, x, y in self.texts if (x < 60 and y > 30 if axis == "y" else 260 < y < 275 and x > 60)]

    def _paths(self, style: str) -> list[str]:
        return [one.attrib["d"] for one in self._elements(style, "path") if "d" in one.attrib]

    def _elements(self, style: str, tag: str) -> list[ElementTree.Element]:
        return [one for one in self.root.iter(tag) if style in one.attrib.get("style", "")]


def _points(path: str) -> Points:
    numbers = list(map(float, re.findall(r"-?\d+(?:\.\d+)?", path)))
    return list(zip(numbers[::2], numbers[1::2], strict=True))

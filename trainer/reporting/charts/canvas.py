"""What a chart is drawn on: text for a page, or a picture."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from typing import Protocol

from PIL import Image, ImageDraw, ImageFont

FONT, SMALL_FONT = 13, 11
PNG_SCALE = 2  # pixels of a picture for one unit of a chart
SUPERSAMPLING = 2
_PIXELS = PNG_SCALE * SUPERSAMPLING

Point = tuple[float, float]


class Canvas(Protocol):
    """What a chart is drawn on. Units are pixels of the page, x right, y down; colours are ``#rrggbb``."""

    def line(self, points: Sequence[Point], colour: str, width: float, dashed: bool = False) -> None: ...

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None: ...

    def circle(self, x: float, y: float, radius: float, colour: str) -> None: ...

    def text(self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "start") -> None:
        """`y` is the middle of the letters; `anchor` is 'start', 'middle' or 'end' of the text, which lies at `x`."""


class SvgCanvas:
    """Collects elements of an ``<svg>``."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def line(self, points: Sequence[Point], colour: str, width: float, dashed: bool = False) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = ' stroke-dasharray="5 3"' if dashed else ""
        self.elements.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-linejoin="round"{dashes}/>'
        )

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def circle(self, x: float, y: float, radius: float, colour: str) -> None:
        self.elements.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def text(self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "start") -> None:
        weight = ' font-weight="600"' if size > FONT else ""
        self.elements.append(
            f'<text x="{x:.1f}" y="{y + size * 0.36:.1f}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}>{html.escape(text)}</text>'
        )


class PngCanvas:
    """A white picture of `width` x `height` units, drawn large and scaled down, because Pillow draws hard edges.

    Attributes:
        origin: where a chart's (0, 0) lies, in units.
    """

    def __init__(self, width: float, height: float) -> None:
        self.origin: Point = (0.0, 0.0)
        self._image = Image.new("RGB", (round(width * _PIXELS), round(height * _PIXELS)), "#ffffff")
        self._draw = ImageDraw.Draw(self._image)

    def image(self) -> Image.Image:
        width, height = self._image.size
        return self._image.resize((width // SUPERSAMPLING, height // SUPERSAMPLING), Image.Resampling.BOX)

    def line(self, points: Sequence[Point], colour: str, width: float, dashed: bool = False) -> None:
        placed = [self._place(x, y) for x, y in points]
        for part in _dashes(placed, 5 * _PIXELS, 3 * _PIXELS) if dashed else [placed]:
            self._draw.line(part, colour, round(width * _PIXELS), joint="curve")

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self._draw.rectangle((*self._place(x, y), *self._place(x + width, y + height)), fill=colour)

    def circle(self, x: float, y: float, radius: float, colour: str) -> None:
        corners = (*self._place(x - radius, y - radius), *self._place(x + radius, y + radius))
        self._draw.ellipse(corners, fill=colour)

    def text(self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "start") -> None:
        font = ImageFont.load_default(size * _PIXELS)
        self._draw.text(self._place(x, y), text, colour, font, {"start": "lm", "middle": "mm", "end": "rm"}[anchor])

    def _place(self, x: float, y: float) -> Point:
        return (x + self.origin[0]) * _PIXELS, (y + self.origin[1]) * _PIXELS


def _dashes(points: Sequence[Point], length: float, gap: float) -> list[list[Point]]:
    """A line cut into dashes; what is left of one at a corner goes on behind it."""
    parts: list[list[Point]] = [[points[0]]]
    left, drawing = length, True
    for start, end in itertools.pairwise(points):
        total, done = math.dist(start, end), 0.0
        while total - done > left:
            done += left
            place = tuple(a + (b - a) * done / total for a, b in zip(start, end, strict=True))
            if drawing:
                parts[-1].append(place)
            else:
                parts.append([place])
            drawing, left = not drawing, gap if drawing else length
        left -= total - done
        if drawing:
            parts[-1].append(end)
    return [part for part in parts if len(part) > 1]


def shortened(text: str, width: float, size: int) -> str:
    """`text`, cut so that it is at most `width` wide in letters of `size`."""
    if width_of(text, size) <= width:
        return text
    while text and width_of(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def width_of(text: str, size: int) -> float:
    """How wide `text` is in letters of `size`, as Pillow's font has them; a page's font is about as wide."""
    return ImageFont.load_default(size).getlength(text)

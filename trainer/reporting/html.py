"""A report: one HTML file with text, tables, charts and pictures, which opens without a server, a network or scripts.

    Report ── sections ── Text | Table | Chart | Gallery ──write──► report.html

Pictures are in the file as JPEGs, charts as SVG. Nothing here computes anything: `trainer.reporting.curves`,
`trainer.reporting.highlights` and `trainer.reporting.calibration_charts` make charts and galleries of a run's results.
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from shared.errors import UserError
from trainer.reporting import charts
from trainer.reporting.charts import BarChart, LineChart
from trainer.reporting.style import STYLE

JPEG_QUALITY = 85
LONGEST_SIDE = 800  # pixels of a picture; larger ones are scaled down

Cell = str | int | float | None


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text.

    Attributes:
        warning: whether it tells of something that went wrong.
    """

    text: str
    warning: bool = False


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

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    best: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """An image with a caption.

    Attributes:
        image: u8 (H,W,3), RGB, drawn already.
        title: its name; what a screen reader says, together with the note.
        note: e.g. what is found in it and what is not.
    """

    image: np.ndarray
    title: str
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


Part = Text | Table | Gallery | LineChart | BarChart


@dataclass(frozen=True)
class Section:
    """What belongs together under one heading, in the order in which it is shown."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Report:
    """A page.

    Attributes:
        title: heading and name of the page.
        summary: the result in a sentence or two.
        sections: listed as links at the top.
        facts: name -> value, small print at the end: config, seed, versions, time.
    """

    title: str
    summary: str
    sections: Sequence[Section]
    facts: dict[str, str] = field(default_factory=dict)


def write(report: Report, path: str | os.PathLike) -> None:
    """Writes the page to `path`.

    Raises:
        UserError: it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(report), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the report {path}: {error.strerror}") from error


def render(report: Report) -> str:
    """The page as HTML."""
    anchors = [f"part-{number}" for number in range(1, len(report.sections) + 1)]
    links = "".join(
        f'<a href="#{anchor}">{html.escape(section.title)}</a>'
        for anchor, section in zip(anchors, report.sections, strict=True)
    )
    sections = "".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{html.escape(section.title)}</h2>'
        f"{_flow(section.parts)}</section>"
        for anchor, section in zip(anchors, report.sections, strict=True)
    )
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in report.facts.items()
    )
    title = html.escape(report.title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Without an icon of its own a browser asks for one.
        f'<title>{title}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>\n<body>'
        f"<header><h1>{title}</h1><p>{html.escape(report.summary)}</p>"
        f'<nav aria-label="Sections">{links}</nav></header>\n<main>{sections}</main>\n'
        f"<footer><dl>{facts}</dl></footer></body></html>\n"
    )


def _flow(parts: Sequence[Part]) -> str:
    """The parts one after the other; charts that follow each other stand side by side where there is room."""
    found, row = [], []
    for part in (*parts, None):
        if isinstance(part, LineChart | BarChart):
            row.append(f'<figure class="chart">{charts.svg(part)}</figure>')
            continue
        if row:
            found.append(f'<div class="charts">{"".join(row)}</div>')
            row = []
        if part is not None:
            found.append(_RENDERED[type(part)](part))
    return "\n".join(found)


def _text(part: Text) -> str:
    kind = ' class="warning"' if part.warning else ""
    return f"<p{kind}>{html.escape(part.text)}</p>"


def _table(part: Table) -> str:
    numeric = [
        all(not isinstance(row[column], str) for row in part.rows) and column > 0 for column in range(len(part.header))
    ]
    best = {part.header.index(name): _largest(row[part.header.index(name)] for row in part.rows) for name in part.best}
    head = "".join(
        f'<th scope="col"{_right(right)}>{html.escape(name)}</th>'
        for name, right in zip(part.header, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{html.escape(_cell(cell))}</th>'
            if column == 0
            else f"<td{_right(numeric[column])}>{_emphasised(cell, best.get(column))}</td>"
            for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in part.rows
    )
    caption = f"<caption>{html.escape(part.title)}</caption>" if part.title else ""
    return (
        f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"{_note(part.note)}"
    )


def _gallery(part: Gallery) -> str:
    figures = "".join(map(_picture, part.pictures))
    return f'<h3>{html.escape(part.title)}</h3>{_note(part.note)}<div class="gallery">{figures}</div>'


def _picture(picture: Picture) -> str:
    title, note = html.escape(picture.title), html.escape(picture.note)
    return (
        f'<figure><img src="{_data_url(picture.image)}" alt="{title}. {note}" loading="lazy">'
        f"<figcaption><b>{title}</b> {note}</figcaption></figure>"
    )


_RENDERED = {Text: _text, Table: _table, Gallery: _gallery}


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>' if text else ""


def _right(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _cell(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    return f"{cell:.3f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else cell


def _emphasised(cell: Cell, best: float | None) -> str:
    text = html.escape(_cell(cell))
    return f"<b>{text}</b>" if best is not None and cell == best else text


def _largest(cells: object) -> float | None:
    """The largest of several numbers; None where none is larger than another."""
    numbers = [cell for cell in cells if isinstance(cell, int | float) and not math.isnan(cell)]
    return max(numbers) if len(set(numbers)) > 1 else None


def _data_url(image: np.ndarray) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"

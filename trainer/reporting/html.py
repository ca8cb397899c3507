"""A report: one HTML file with text, tables, charts and pictures, which opens without a server, a network or scripts.

    Report ── sections ── parts: Text | Table | Figure | Gallery ──write──► report.html

The page is ``templates/report.html``, its look ``templates/report.css``; each kind of part brings its piece of HTML
(`trainer.reporting.parts`). All text is escaped. Nothing here computes anything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shared.files import save
from trainer.reporting.parts import Part


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


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Writes the page to `path`.

    Raises:
        UserError: it cannot be written.
    """
    # Names of files may hold what no encoding has.
    save(Path(path), render(report).encode("utf-8", "replace"))


def render(report: Report) -> str:
    """The page as HTML."""
    return _PAGES.get_template("report.html").render(report=report, rendered=_rendered)


def _rendered(part: Part) -> Markup:
    return Markup(_PAGES.from_string(part.TEMPLATE.strip()).render(part=part))


_PAGES = Environment(
    loader=PackageLoader("trainer.reporting"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)

"""What a section of the report is made of: one file for each kind of part, with everything about it.

    text.py Text    table.py Table    figure.py Figure (a chart)    gallery.py Gallery (pictures side by side)
    curves.py Curves (rows with a curve and pictures behind each)

A part is a class with a `TEMPLATE`, a piece of HTML in Jinja's language that finds the part as ``part``. Whatever it
writes with ``{{ }}`` is escaped. A new kind of part is a new file here; nothing else has to know about it.
"""

from __future__ import annotations

from typing import ClassVar, Protocol


class Part(Protocol):
    """Anything that has a template."""

    TEMPLATE: ClassVar[str]

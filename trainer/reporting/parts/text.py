"""A paragraph of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text.

    Attributes:
        warning: whether it reports something that went wrong.
    """

    TEMPLATE: ClassVar[str] = '<p{% if part.warning %} class="warning"{% endif %}>{{ part.text }}</p>'

    text: str
    warning: bool = False

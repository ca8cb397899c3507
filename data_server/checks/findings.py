"""What a check has found: kinds of faults, how often each occurs, and the first few places of each.

However many faults there are, only a count and a few places are kept of each kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

SHOWN = 5


@dataclass
class Finding:
    """One kind of fault.

    Attributes:
        is_error: whether training would stop, or learn something wrong; else it is worth knowing.
        text: the kind, said of several ("boxes without area; they are left out").
        count: how often.
        places: the first few places.
    """

    is_error: bool
    text: str
    count: int = 0
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        level = "ERROR" if self.is_error else "warning"
        places = ", ".join(self.places) + (", ..." if self.count > len(self.places) else "")
        return f"{level:8}{f'{self.count:,} ' if self.count else ''}{self.text}{f': {places}' if places else ''}"


class Findings:
    """All kinds of faults, errors first."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[bool, str], Finding] = {}

    def error(self, text: str, place: str | None = None) -> None:
        """A fault that would stop training or spoil it; with `place`, one more of the kind `text`."""
        self._note(True, text, place)

    def warning(self, text: str, place: str | None = None) -> None:
        """A fault that is worth knowing."""
        self._note(False, text, place)

    def several(self, is_error: bool, text: str, places: list[str], count: int) -> None:
        """`count` more of the kind `text`, of which the first are at `places`."""
        for place in places:
            self._note(is_error, text, place)
        self._kinds[is_error, text].count += count - len(places)

    def __iter__(self) -> Iterator[Finding]:
        return iter(sorted(self._kinds.values(), key=lambda finding: not finding.is_error))

    @property
    def errors(self) -> int:
        """How many kinds of errors."""
        return sum(finding.is_error for finding in self)

    @property
    def warnings(self) -> int:
        """How many kinds of warnings."""
        return sum(not finding.is_error for finding in self)

    def _note(self, is_error: bool, text: str, place: str | None) -> None:
        finding = self._kinds.setdefault((is_error, text), Finding(is_error, text))
        if place is not None:
            finding.count += 1
            if len(finding.places) < SHOWN:
                finding.places.append(place)

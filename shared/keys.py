"""Checks of keys and values of a config; every mistake becomes one line that says where it is and what is accepted.

`where` is the dotted place in the config, e.g. ``optim_wrapper.optimizer``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

from shared.errors import UserError


def nearest(word: str, known: Collection[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known word closest to `word`, or an empty string when none is close."""
    from difflib import get_close_matches

    matches = get_close_matches(word, known, n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def unknown(where: str, kind: str, word: object, known: Collection[str]) -> UserError:
    """The message for a name that we do not know: ``WHERE: unknown KIND 'x' (did you mean 'y'?); known: y, z``.

    Args:
        kind: what the name is of: ``key``, ``type``, ``task``.
    """
    accepted = ", ".join(known) or "none"
    return UserError(f"{where}: unknown {kind} {word!r}{nearest(str(word), known)}; known: {accepted}")


def check_keys(where: str, section: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises UserError for the first key of `section` that is not among the `known` ones."""
    for key in section:
        if key not in known:
            raise unknown(where, "key", key, known)


def check_type(where: str, kind: str | None, known: Collection[str]) -> str:
    """Returns ``type=kind`` of a section if it is among the `known` ones, else raises UserError."""
    if kind is None or kind not in known:
        raise unknown(where, "type", kind, known)
    return kind


def check_number(where: str, value: object, low: float, high: float = float("inf"), above: bool = False) -> float:
    """Returns `value` if it is a number in [low, high] (in (low, high] with `above`), else raises UserError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        above_low = value > low if above else value >= low
        if above_low and value <= high:
            return value
    bounds = f"{'above' if above else 'at least'} {low:g}" + (f" and at most {high:g}" if high < float("inf") else "")
    raise UserError(f"{where}={value!r}: expected a number {bounds}")


@dataclass(frozen=True)
class Values:
    """Which values a key may have.

    Attributes:
        accepts: whether a value is one of them.
        words: how a message and a table name them.
        unit: of a number; empty where the key's name says it.
    """

    accepts: Callable[[Any], bool]
    words: str
    unit: str = ""

    def check(self, where: str, value: object) -> None:
        """Raises UserError unless `value` is accepted."""
        if not self.accepts(value):
            unit = f" ({self.unit})" if self.unit else ""
            raise UserError(f"{where} is {short(value)}; expected {self.words}{unit}")

    def or_none(self) -> Values:
        """These values and None."""
        return Values(lambda value: value is None or self.accepts(value), f"{self.words}, or None", self.unit)


def of_type(kind: type, words: str) -> Values:
    """All values of one type."""
    return Values(lambda value: isinstance(value, kind), words)


def one_of(*choices: str) -> Values:
    """Some words."""
    return Values(lambda value: value in choices, " or ".join(map(repr, choices)))


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e9


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _is_size(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_count, value))


SWITCH = of_type(bool, "True or False")
TEXTS = Values(
    lambda value: isinstance(value, list | tuple) and all(isinstance(one, str) for one in value), "a list of texts"
)
COUNT = Values(_is_count, "1 or more")
POSITIVE = Values(_is_positive, "a number above 0")
MIB = Values(_is_count, "1 or more", "MiB")
SECONDS = Values(_is_seconds, "0 or more", "s")
SIZE = Values(_is_size, "(height, width)", "pixels")

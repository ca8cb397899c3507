"""Checks of one section of a config; every mistake becomes one line that says where it is and what is accepted.

`where` is the dotted place in the config, e.g. ``optim_wrapper.optimizer``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from shared.errors import UserError


def nearest(word: str, known: Collection[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known word closest to `word`, or an empty string when none is close."""
    from difflib import get_close_matches

    matches = get_close_matches(word, known, n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def unknown(where: str, kind: str, word: object, known: Collection[str]) -> UserError:
    """The one wording for a name that we do not know: ``WHERE: unknown KIND 'x' (did you mean 'y'?); known: y, z``.

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

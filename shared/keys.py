"""Checks of one section of a config; every mistake becomes one line that says where it is and what is accepted.

`where` is the dotted place in the config, e.g. ``optim_wrapper.optimizer``.
"""

from collections.abc import Mapping, Sequence

from shared.errors import UserError, nearest


def check_keys(where: str, section: Mapping, known: Sequence[str]) -> None:
    """Raises UserError for the first key of `section` that is not among the `known` ones."""
    for key in section:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known)}; known: {', '.join(known)}")


def check_type(where: str, kind: str | None, known: Sequence[str]) -> str:
    """Returns ``type=kind`` of a section if it is among the `known` ones, else raises UserError."""
    if kind not in known:
        raise UserError(f"{where}: unknown type {kind!r}{nearest(str(kind), known)}; known: {', '.join(known)}")
    return kind


def check_number(where: str, value: object, low: float, high: float = float("inf"), above: bool = False) -> float:
    """Returns `value` if it is a number in [low, high] (in (low, high] with `above`), else raises UserError."""
    inside = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not inside or (above and value == low):
        bounds = f"{'above' if above else 'at least'} {low:g}" + (
            f" and at most {high:g}" if high < float("inf") else ""
        )
        raise UserError(f"{where}={value!r}: expected a number {bounds}")
    return value

"""JSON of a user's file: read, or refused with a `ValueError` whatever it holds."""

from __future__ import annotations

import json
from typing import Any


def parse(text: str | bytes, *, unique: bool = False) -> Any:
    """What `text` says; bytes are UTF-8, with or without a byte order mark.

    Args:
        unique: whether an object that has a key twice is refused; costs time with large files.

    Raises:
        ValueError: it is no JSON, no UTF-8, nested too deep, or has a number of thousands of digits.
    """
    try:
        return json.loads(
            text.decode("utf-8-sig") if isinstance(text, bytes) else text, object_pairs_hook=_once if unique else None
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return found

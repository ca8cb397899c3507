"""Top-level keys of a config that look like a misspelt one, or like MMDetection 2's.

A config may have variables of its own (``data_root``, ``img_norm_cfg``, ``my_pipeline``), so an unknown key is no
mistake as such. It is taken for one where it is almost a key that is read, and nothing in the config uses it: its name
stands nowhere else in the text, and its value is nowhere else in the config (a config that a run has written out holds
the values only).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.config_keys import MMDETECTION_2, READ, TOP_LEVEL
from shared.errors import UserError

_KNOWN = {key.name for key in TOP_LEVEL}
_READ = [key.name for key in TOP_LEVEL if key.fate == READ]


def check_names(values: Mapping[str, Any], text: str) -> None:
    """Raises UserError for the first top-level key that seems to be meant for another.

    Args:
        values: the whole config.
        text: the file that it comes from, with those that this builds on.
    """
    for name, value in values.items():
        if name in _KNOWN or _is_used(name, value, values, text):
            continue
        if name in MMDETECTION_2:
            raise UserError(
                f"config key {name!r} is MMDetection 2's and has no effect; write {MMDETECTION_2[name]} instead"
            )
        meant = next((known for known in _READ if is_misspelt(name, known)), None)
        if meant is not None:
            raise UserError(
                f"config key {name!r} has no effect (did you mean {meant!r}?); give a variable of your own another name"
            )


def is_misspelt(name: str, known: str) -> bool:
    """Whether `name` is `known` with a letter or two (one in a short name) missing, added, swapped or replaced, in
    whatever case. A name that continues a known one (``data_root_07``) is a name of its own."""
    name, known = name.lower(), known.lower()
    if name != known and name.startswith(known) and not name.removeprefix(known).isalpha():
        return False
    return distance(name, known) <= (2 if len(known) > 8 else 1)


def distance(first: str, second: str) -> int:
    """How many letters must be added, removed, replaced or swapped with the next to make one text of the other."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first):
        earlier, before, row = before, row, [i + 1]
        for j, other in enumerate(second):
            least = min(before[j] + (letter != other), before[j + 1] + 1, row[j] + 1)
            if i and j and letter == second[j - 1] and first[i - 1] == other:
                least = min(least, earlier[j - 1] + 1)
            row.append(least)
    return row[-1]


def _is_used(name: str, value: Any, values: Mapping[str, Any], text: str) -> bool:
    if len(re.findall(rf"\b{re.escape(name)}\b", text)) > 1:
        return True
    if value is None or isinstance(value, bool):
        return False
    return any(value == other for key in values if key != name for other in _parts(values[key]))


def _parts(value: Any) -> Iterator[Any]:
    """`value` and all that is in it."""
    yield value
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)

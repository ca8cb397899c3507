"""Which texts of a column are meant, found in the mapped bytes of all of them at once: none becomes a text.

bytes   v a l / 0 7 . j p g v a l / 1 7 . j p g         "7.j" begins at bytes 5 and 14, each behind the last "/" of
ends                      10                  20        its own text and early enough before its end
"""

from __future__ import annotations

import numpy as np

from data_server.files.index.columns import Array, Texts


def equal(texts: Texts, wanted: str) -> Array:
    """bool (n,), which texts are `wanted`."""
    sought, found = wanted.encode(), np.zeros(len(texts), bool)
    rows = np.flatnonzero(np.diff(texts.ends, prepend=0) == len(sought))
    for place, byte in enumerate(reversed(sought), 1):  # ids of a file differ in their last bytes
        rows = rows[texts.bytes[texts.ends[rows] - place] == byte]
    found[rows] = True
    return found


def in_names(texts: Texts, wanted: str, ending: str = "") -> Array:
    """bool (n,), which texts, each with `ending` behind it, have `wanted` behind their last "/"."""
    if wanted in ending:
        return np.ones(len(texts), bool)
    begins, ends = _names(texts), texts.ends
    sought = wanted.encode()
    found = _any_within(_places(texts.bytes, sought), begins, ends - len(sought))
    for cut in range(1, len(wanted)):
        if ending.startswith(wanted[cut:]):  # a text that ends with the beginning of `wanted`
            head = wanted[:cut].encode()
            last = ends - len(head)
            found |= _any_within(_places(texts.bytes, head), np.maximum(begins, last), last)
    return found


def _names(texts: Texts) -> Array:
    """int64 (n,), where each text's part behind its last "/" begins."""
    begins = np.concatenate([np.zeros(1, np.int64), texts.ends])[:-1]
    slashes = np.concatenate([[-1], np.flatnonzero(texts.bytes == ord("/"))])
    found: Array = np.maximum(begins, slashes[np.searchsorted(slashes, texts.ends) - 1] + 1)
    return found


def _places(characters: Array, sought: bytes) -> Array:
    """int64 (n,), all bytes at which `sought` begins, ascending, whether or not they overlap."""
    count = max(0, len(characters) - len(sought) + 1)
    found = np.ones(count, bool)
    for place, byte in enumerate(sought):
        found &= characters[place : place + count] == byte
    return np.flatnonzero(found)


def _any_within(places: Array, least: Array, most: Array) -> Array:
    """bool (n,), whether one of `places`, ascending, is from `least` to `most` (n,)."""
    beyond = np.append(places, np.iinfo(np.int64).max)
    found: Array = beyond[np.searchsorted(places, least)] <= most
    return found

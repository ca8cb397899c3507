"""What has been asked of the stand-in for a card, in this process."""

from __future__ import annotations

import ctypes
from functools import cache

from tests.cuda_standin.toolkit import LIBRARY

Counts = dict[str, int]


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(LIBRARY))
    library.standin_name.restype = ctypes.c_char_p
    library.standin_counter.restype = ctypes.c_longlong
    return library


def counts() -> Counts:
    """All counters of runtime.cpp by name; `bytes` and `peak` are those of device memory in blocks that are taken."""
    found: Counts = {}
    while name := _library().standin_name(len(found)):
        found[name.decode()] = _library().standin_counter(name)
    return found


def since(before: Counts) -> Counts:
    """What has been added since `before`; `bytes` and `peak` as they are."""
    return {name: n if name in ("bytes", "peak") else n - before[name] for name, n in counts().items()}

"""The xxh3_64 of a payload, taken from the front while the payload is written or copied.

    payload │ passed: hashed │ in the processor's cache │ to come │
                             ──────────── `passed(end)` ─►

A batch of several images is larger than the processor's caches. Hashing all of it before or after would fetch it from
memory once more, which takes half as long as writing it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xxhash

BAND_BYTES = 1 << 18  # what is written or copied at a time, so that it is there for the hash


class Checksum:
    """The checksum of a slot's payload; 0 where none is wanted.

    Args:
        payload: uint8 (capacity,), to be written or read.
    """

    def __init__(self, payload: npt.NDArray[np.uint8], *, wanted: bool = True) -> None:
        self._payload = payload
        self._hash = xxhash.xxh3_64() if wanted else None
        self._end = 0

    def passed(self, end: int) -> None:
        """The first `end` bytes are as they will stay."""
        if self._hash is not None:
            self._hash.update(self._payload[self._end : end].data)
            self._end = end

    def digest(self, nbytes: int) -> int:
        """The checksum of the first `nbytes` bytes, all of which are there."""
        if self._hash is None:
            return 0
        self.passed(nbytes)
        return self._hash.intdigest()

"""The xxh3_64 of a payload that is written from the front, taken while it is written.

    payload │ written and hashed │ written, still in the processor's cache │ to be written │
                            `written(end)` ──────────────────────────────►

A batch of several images is larger than the caches near the processor: to hash it as a whole afterwards would fetch all
of it from memory once more, which takes half as long as to write it.
"""

from __future__ import annotations

import numpy as np
import xxhash

BAND_BYTES = 1 << 18  # what is written at a time, so that it is there for the hash


class Checksum:
    """The checksum of a slot's payload; 0 where none is wanted.

    Args:
        payload: uint8 (capacity,), to be written.
    """

    def __init__(self, payload: np.ndarray, *, wanted: bool = True) -> None:
        self._payload = payload
        self._hash = xxhash.xxh3_64() if wanted else None
        self._end = 0

    def written(self, end: int) -> None:
        """The first `end` bytes are as they will stay."""
        if self._hash is not None:
            self._hash.update(self._payload[self._end : end])
            self._end = end

    def digest(self, nbytes: int) -> int:
        """The checksum of the first `nbytes` bytes, all of which are written."""
        if self._hash is None:
            return 0
        self.written(nbytes)
        return self._hash.intdigest()

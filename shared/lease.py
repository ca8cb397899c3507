"""One batch in a trainer's hands, as read-only numpy views into shared memory.

arrays or copy, any number of times ──release──► gone: the slot is the server's again
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from shared.arena import Arena
from shared.faults import reach
from shared.layout import Layout
from shared.messages import Batch, Release


class Lease:
    """The right to read one batch, until `release`. Its bytes are checked before anybody can use them: by
    `StreamClient.next` or, with ``check=False``, at the first use of `arrays` or while `copy` copies them.

    Args:
        release: tells the server that the slot is free.
        checksum: the bytes have a checksum, and nobody has looked at it yet.
    """

    def __init__(
        self, batch: Batch, layout: Layout, arena: Arena, release: Callable[[Release], None], *, checksum: bool
    ) -> None:
        self.epoch = batch.epoch
        self.step = batch.step
        self.valid = batch.valid
        self.digest = batch.digest
        self._arena = arena
        self._release = release
        self.layout = layout
        self._message = batch
        self._to_check = checksum
        self._arrays: dict[str, npt.NDArray[Any]] | None = layout.views(arena.payload(batch.slot))

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Read-only views into shared memory, described in `shared.batch`; to touch them after `release` raises.

        Raises:
            SlotCorrupted: a byte is not what the server announced.
        """
        arrays = self._held()
        self.check()
        return arrays

    def check(self) -> None:
        """Verifies the bytes, unless that has been done. Raises SlotCorrupted as `arrays` does."""
        if self._to_check:
            self.copy({})

    def copy(self, places: dict[str, npt.NDArray[Any]]) -> None:
        """Copies the arrays named in `places`, each to its place of the same shape and dtype, C-contiguous. To check
        the bytes costs less here than on their own.

        Raises:
            SlotCorrupted: a byte is not what the server announced; what has been copied is worthless.
        """
        self._held()
        self._arena.copy_payload(
            self._message.slot, self.step, self.layout, self.digest, places, checksum=self._to_check
        )
        self._to_check = False

    def _held(self) -> dict[str, npt.NDArray[Any]]:
        if self._arrays is None:
            raise ValueError(f"the batch of step {self.step} has been released; its slot may hold another by now")
        return self._arrays

    def release(self) -> None:
        """Gives the slot back, once. Whatever is still needed must have been copied."""
        self._held().clear()
        self._arrays = None
        reach("client.release")
        self._release(Release(self._message.slot, self._message.generation))
        reach("client.released")

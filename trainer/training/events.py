"""A run's numbers for TensorBoard: ``tensorboard/events.out.tfevents.*``.

    record   length u64, its checksum u32, an Event of TensorBoard's, its checksum u32

tensorboardX has the events and the checksums. Its writer is not used: it writes in a thread that ends at the first
error of the disk, and once its queue of ten events is full, whoever adds one waits for ever.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from shared.without import without
from trainer.process.journal import Journal

with without("torch"):  # tensorboardX imports it for its type hints wherever it is installed
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.record_writer import masked_crc32c
    from tensorboardX.summary import scalar

FOLDER = "tensorboard"
_VERSION = "brain.Event:2"


class Events:
    """The events of one start of a run.

    Args:
        first_step: the first that is going to be added; events of it and later ones in older files are hidden.
        say: see `Journal`.
    """

    def __init__(self, work_dir: Path, first_step: int, say: Callable[[str], None]) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._journal = Journal(work_dir / FOLDER / name, say, lines=False)
        self._add(Event(file_version=_VERSION))
        self._add(Event(step=first_step, file_version=_VERSION))
        self._add(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, tag: str, value: float, step: int) -> None:
        """Keeps a number for the next flush."""
        self._add(Event(step=step, summary=scalar(tag, value)))

    def flush(self) -> None:
        self._journal.flush()

    def close(self) -> None:
        self._journal.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._journal.add(length + _checksum(length) + data + _checksum(data))


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))

"""A run's numbers and pictures for TensorBoard: ``tensorboard/events.out.tfevents.*``, one file for each of its starts.

    record   length u64, its checksum u32, an Event of TensorBoard's, its checksum u32
    event    all values that the log has of one step at once, or a picture

tensorboardX has the events and the checksums. Its writer is not used: it writes in a thread that ends at the first
error of the disk, and once its queue of ten events is full, whoever adds one waits for ever.
"""

from __future__ import annotations

import io
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from shared.without import without
from trainer.process.journal import Journal

with without("torch"):  # tensorboardX imports it for its type hints wherever it is installed
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import masked_crc32c

FOLDER = "tensorboard"
_VERSION = "brain.Event:2"
_NO_TAG = re.compile(r"[^-/\w.]")  # TensorBoard's tags have letters, digits and -/_. only
_HEAD, _CHECKSUM = 12, 4  # bytes


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

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Keeps numbers by their tags for the next flush."""
        found = [Summary.Value(tag=_tag(tag), simple_value=value) for tag, value in values.items()]
        self._add(Event(step=step, summary=Summary(value=found)))

    def add_picture(self, tag: str, png: bytes, step: int) -> None:
        """Keeps a picture for the next flush."""
        width, height = Image.open(io.BytesIO(png)).size
        picture = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
        self._add(Event(step=step, summary=Summary(value=[Summary.Value(tag=_tag(tag), image=picture)])))

    def flush(self) -> None:
        self._journal.flush()

    def close(self) -> None:
        self._journal.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._journal.add(length + _checksum(length) + data + _checksum(data))


class Found(NamedTuple):
    """What an event has.

    Attributes:
        numbers: by tag, whole ones as they are and others the shortest that have the same 32 bits: 0.1, not
            0.10000000149011612.
        pictures: PNG files by tag.
    """

    step: int
    numbers: dict[str, float]
    pictures: dict[str, bytes]


def read(path: Path, place: int) -> tuple[list[Found], int]:
    """The events with values of a file that may still grow, from byte `place` on, and the byte after the last record
    that is whole.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(place)
        content, at, found = file.read(), 0, []
    while len(content) >= at + _HEAD:
        (length,) = struct.unpack_from("<Q", content, at)
        end = at + _HEAD + length + _CHECKSUM
        if end > len(content):
            break
        event = Event.FromString(content[at + _HEAD : end - _CHECKSUM])
        values, at = event.summary.value, end
        numbers = {one.tag: _shortest(one.simple_value) for one in values if one.HasField("simple_value")}
        pictures = {one.tag: one.image.encoded_image_string for one in values if one.HasField("image")}
        if numbers or pictures:
            found.append(Found(event.step, numbers, pictures))
    return found, place + at


def _shortest(value: float) -> float:
    return value if value.is_integer() else float(str(np.float32(value)))


def _tag(name: str) -> str:
    return _NO_TAG.sub("_", name).lstrip("/")


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))

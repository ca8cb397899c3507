"""A trainer's predictions on their way from the server to an evaluator: a file without a name, one record for each
PREDICTIONS message, added as it comes.

    record │ length of message u64 │ of payload u64 │ message (msgpack) │pad│ payload (arrays as the layout says) │pad│

Records and payloads start on multiples of 64 bytes. The file lies in the directory for temporary files (``TMPDIR``), is
mapped when read, and is gone with its last user: predictions of any size are nobody's memory, but page cache while the
machine has room for it.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import tempfile

from shared.codec import decode, encode
from shared.errors import UserError
from shared.files import write_at
from shared.layout import aligned
from shared.messages import Predictions

_LENGTHS = struct.Struct("<QQ")
_BYTES_OF_IMAGE, _BYTES_OF_BOX = 20, 24  # see `shared.messages.Predictions`
Record = tuple[bytes, memoryview]


class Kept:
    """Predictions of one evaluation, as far as they have come."""

    def __init__(self) -> None:
        self._file: int | None = None  # from the first record on: most streams are never evaluated
        self._end = 0

    def append(self, message: Predictions, payload: bytes) -> None:
        """Adds a record.

        Raises:
            UserError: the disk is full, or there is no directory for temporary files.
        """
        head = encode(message)
        head = _LENGTHS.pack(len(head), len(payload)) + head
        start = aligned(self._end + len(head))
        try:
            write_at(self.descriptor, head, self._end)
            write_at(self.descriptor, payload, start)
            self._end = aligned(start + len(payload))
        except OSError as error:
            raise UserError(
                f"predictions of one evaluation are kept in {tempfile.gettempdir()!r}, {self._end >> 20} MiB so far: "
                f"{error.strerror}; make room there, or start the data server with TMPDIR=<another directory>"
            ) from None

    @property
    def descriptor(self) -> int:
        """The file; stays this object's. Raises OSError where none can be made."""
        if self._file is None:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        return self._file

    def close(self) -> None:
        """Nobody is to be given the file any more; who has it keeps it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def check_room(images: int, boxes: int) -> None:
    """Looks whether predictions of so many images, with up to so many boxes in each, can be kept.

    Raises:
        UserError: there is less room, or no directory for temporary files.
    """
    needed = images * (_BYTES_OF_IMAGE + boxes * _BYTES_OF_BOX)
    try:
        place = tempfile.gettempdir()
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise UserError(f"predictions cannot be kept: {error.strerror}; start with another TMPDIR") from None
    if needed > free:
        raise UserError(
            f"predictions of one evaluation, up to {boxes} boxes in each of {images} images, may take "
            f"{needed >> 20} MiB in {place!r}, where {free >> 20} MiB are free; make room there, or start the data "
            "server with TMPDIR=<another directory>"
        )


def read(descriptor: int) -> list[Record]:
    """(layout as it came, payload) of every record. Closes `descriptor`; payloads are mapped, and read-only."""
    size = os.fstat(descriptor).st_size
    if size == 0:  # nothing can be mapped
        os.close(descriptor)
        return []
    content = memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    os.close(descriptor)
    records, place = [], 0
    while place < size:
        head, payload = _LENGTHS.unpack_from(content, place)
        place += _LENGTHS.size
        message = decode(bytes(content[place : place + head]), Predictions)
        start = aligned(place + head)
        records.append((message.layout, content[start : start + payload]))
        place = aligned(start + payload)
    return records

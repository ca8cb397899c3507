"""A trainer's predictions on their way from the server to an evaluator: a memfd, one record for each PREDICTIONS
message.

    record │ length of message u64 │ length of payload u64 │ message (msgpack) │ payload (arrays as the layout says) │
"""

from __future__ import annotations

import os
import struct

from shared.codec import decode, encode
from shared.messages import Predictions

_LENGTHS = struct.Struct("<QQ")
Record = tuple[bytes, bytes]


def store(records: list[tuple[Predictions, bytes]]) -> int:
    """Writes all records into a new memfd; returns its descriptor."""
    descriptor = os.memfd_create("unidetector-predictions", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        for message, payload in records:
            head = encode(message)
            file.write(_LENGTHS.pack(len(head), len(payload)) + head)
            file.write(payload)
    return descriptor


def read(descriptor: int) -> list[Record]:
    """(layout as it came, payload) of every record. Closes `descriptor`."""
    records = []
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        while lengths := file.read(_LENGTHS.size):
            head, payload = _LENGTHS.unpack(lengths)
            message = decode(file.read(head), Predictions)
            records.append((message.layout, file.read(payload)))
    return records

"""An arena is a fixed number of equal slots in one piece of nameless shared memory.

    memfd │ slot 0: header 64 B, payload │ slot 1 │ ... │ slot N-1 │      sealed: can neither grow nor shrink

    header │ magic │ generation │ step │ payload bytes │ payload xxh3 │ layout xxh3 │ hand │ header xxh3 │  8 B each

    hand: while a batch is written, the sample that is being made, counted from 1; 0 in a finished slot

The server creates it once per stream. All memory is allocated and touched then, so a machine with too little says so at
the start, and no batch ever pays for a page fault. Workers map it writable; the client gets a descriptor that the
kernel refuses to map writable. The memory has no name, so it cannot be left behind: it goes with the last process that
maps it.

The ledger raises a slot's generation each time it gives the slot out for writing. The writer stores it in the header,
with the payload's checksum, as its last act. The reader compares both with the BATCH message before it uses a byte, at
the latest while it copies them. So a torn, stale or flipped slot is an error, never a wrong picture. Without checksums
the header holds 0 instead: a flipped bit then goes unnoticed, a stale slot does not.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from shared.checksum import BAND_BYTES, Checksum
from shared.layout import Layout, aligned

HEADER_BYTES = 64
_MAGIC = b"UDSLOT\x00\x01"
_HEADER = struct.Struct("<8sQQQQQQ")
_HEADER_CHECK = struct.Struct("<Q")
_HAND = struct.Struct("<Q")
_HAND_OFFSET = 48
_NOTE = struct.Struct("<H")
_MAX_NOTE = 4096
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SlotCorrupted(Exception):
    """A slot whose bytes are not what the BATCH message announced."""


class Arena:
    """N slots of `slot_bytes` bytes each (header included), mapped into this process."""

    def __init__(self, descriptor: int, slots: int, slot_bytes: int, *, writable: bool) -> None:
        """Maps `descriptor`, which stays the caller's.

        Raises:
            ValueError: the memory behind `descriptor` is not sealed at exactly this size.
        """
        size = slots * slot_bytes
        # A kernel with vm.memfd_noexec set adds a seal of its own.
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        if os.fstat(descriptor).st_size != size or seals & _SEALS != _SEALS:
            raise ValueError(f"not an arena of {slots} slots x {slot_bytes} bytes")
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._memory = memoryview(mmap.mmap(descriptor, size, flags=flags, prot=protection))
        self._bytes = np.frombuffer(self._memory, np.uint8)

    @property
    def capacity(self) -> int:
        """Payload bytes of one slot."""
        return self.slot_bytes - HEADER_BYTES

    def payload(self, slot: int) -> npt.NDArray[np.uint8]:
        """uint8 (capacity,): the slot's payload, without a copy."""
        start = slot * self.slot_bytes
        return self._bytes[start + HEADER_BYTES : start + self.slot_bytes]

    def header(self, slot: int) -> npt.NDArray[np.uint8]:
        """uint8 (64,): the slot's header."""
        return np.frombuffer(self._header_of(slot), np.uint8)

    def _header_of(self, slot: int) -> memoryview:
        start = slot * self.slot_bytes
        return self._memory[start : start + HEADER_BYTES]

    def seal(self, slot: int, generation: int, step: int, layout: Layout, checksum: Checksum) -> int:
        """Writes the header over a finished payload; returns what `checksum`, begun with this payload, says of it."""
        layout.clear_gaps(self.payload(slot))
        digest = checksum.digest(layout.nbytes)
        self._header_of(slot)[:] = _header(generation, step, layout, digest)
        return digest

    def take_in_hand(self, slot: int, place: int, note: str = "") -> None:
        """Notes that the sample at `place`, counted from 1 (0: none), is being made, in case this process dies over
        it; `note` goes where the payload will be."""
        _HAND.pack_into(self._header_of(slot), _HAND_OFFSET, place)
        text = note.encode()[: min(_MAX_NOTE, self.capacity - _NOTE.size)]
        self.payload(slot)[: _NOTE.size + len(text)] = np.frombuffer(_NOTE.pack(len(text)) + text, np.uint8)

    def verify_header(self, slot: int, generation: int, step: int, layout: Layout, digest: int) -> None:
        """Compares the slot with what a BATCH message said of it, all but the payload.

        Raises:
            SlotCorrupted: generation, step, layout or the payload's checksum is another.
        """
        if self._header_of(slot) != _header(generation, step, layout, digest):
            raise SlotCorrupted(f"the header of slot {slot} is not the one of step {step}, generation {generation}")

    def copy_payload(
        self,
        slot: int,
        step: int,
        layout: Layout,
        digest: int,
        places: dict[str, npt.NDArray[Any]],
        *,
        checksum: bool = True,
    ) -> None:
        """Copies the arrays named in `places`, each to its place of the same shape and dtype, C-contiguous. With
        `checksum` the whole payload is checked on the way, while what was copied is still in the cache.

        Raises:
            SlotCorrupted: a byte differs; what has been copied is worthless.
        """
        payload = self.payload(slot)
        running = Checksum(payload, wanted=checksum)
        for field in layout.fields:
            if field.name in places:
                place: npt.NDArray[np.uint8] = np.ndarray(field.nbytes, np.uint8, places[field.name])
                for start in range(0, field.nbytes, BAND_BYTES):
                    end = min(start + BAND_BYTES, field.nbytes)
                    place[start:end] = payload[field.offset + start : field.offset + end]
                    running.passed(field.offset + end)
        if checksum and running.digest(layout.nbytes) != digest:
            raise SlotCorrupted(f"the payload of step {step} in slot {slot} does not have its checksum")


def create_memory(slots: int, slot_bytes: int) -> int:
    """A sealed memfd for an arena, every page allocated. Returns its descriptor.

    Raises:
        OSError: ENOSPC or ENOMEM, when the machine cannot give this much.
    """
    descriptor = os.memfd_create("unidetector-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(descriptor, 0, slots * slot_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def in_hand(descriptor: int, slot: int, slot_bytes: int) -> tuple[int, str]:
    """What the writer of an unfinished slot noted last: the place of the sample being made (0: none), and the note."""
    start = slot * slot_bytes
    (place,) = _HAND.unpack(os.pread(descriptor, _HAND.size, start + _HAND_OFFSET))
    note = os.pread(descriptor, _NOTE.size + _MAX_NOTE, start + HEADER_BYTES)
    (length,) = _NOTE.unpack_from(note)
    return place, note[_NOTE.size : _NOTE.size + length].decode(errors="replace")


def read_only(descriptor: int) -> int:
    """A second descriptor of the same memory, which cannot be mapped writable."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)


def slot_bytes_for(payload_bytes: int) -> int:
    """The size of a slot that holds `payload_bytes`: header added, rounded up to whole pages."""
    return -(-(HEADER_BYTES + aligned(payload_bytes)) // mmap.PAGESIZE) * mmap.PAGESIZE


def _header(generation: int, step: int, layout: Layout, digest: int) -> bytes:
    head = _HEADER.pack(_MAGIC, generation, step, layout.nbytes, digest, layout.digest, 0)
    return head + _HEADER_CHECK.pack(xxhash.xxh3_64_intdigest(head))

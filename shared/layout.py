"""A layout says which array is where in a slot.

    slot  │ header 64 B │ images u8 (B,H,W,3) │pad│ boxes f32 (B,G,4) │pad│ ... │ unused up to the slot's capacity │
          0             64                    └──── every array starts on a multiple of 64 bytes, gaps are zero

It travels inside every BATCH message, because H, W and G change from batch to batch, as msgpack
``[[name, dtype, shape, offset], ...]``. The receiver checks it against the slot's bounds before it reads a single byte.
Only four plain dtypes exist, so nothing that could hold a Python object can be described.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import xxhash

ALIGNMENT = 64
DTYPES = {name: np.dtype(name) for name in ("uint8", "int32", "int64", "float32")}
MAX_FIELDS = 32
MAX_RANK = 5
MAX_WIRE_BYTES = 4096


class LayoutError(ValueError):
    """A layout that is malformed or does not fit its slot."""


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to the next multiple of `ALIGNMENT`."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Field:
    """One array: its name, dtype name, shape and offset in bytes from the start of the payload."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class Layout:
    """The arrays of one payload, in the order of their offsets."""

    fields: tuple[Field, ...]

    @classmethod
    def pack(cls, arrays: Iterable[tuple[str, str, tuple[int, ...]]]) -> Layout:
        """Places (name, dtype, shape) one after the other, each aligned."""
        fields, offset = [], 0
        for name, dtype, shape in arrays:
            fields.append(Field(name, dtype, tuple(int(n) for n in shape), offset))
            offset = aligned(offset + fields[-1].nbytes)
        return cls(tuple(fields))

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Layout:
        """Places `arrays` in their order."""
        return cls.pack((name, array.dtype.name, array.shape) for name, array in arrays.items())

    @cached_property
    def nbytes(self) -> int:
        """Bytes of payload, up to and including the last array's padding."""
        return aligned(self.fields[-1].offset + self.fields[-1].nbytes) if self.fields else 0

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one of the arrays."""
        return next(field.shape for field in self.fields if field.name == name)

    def dtype(self, name: str) -> str:
        """The name of the dtype of one of the arrays."""
        return next(field.dtype for field in self.fields if field.name == name)

    def views(self, payload: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """The arrays as views into `payload`, uint8 (capacity,). No copy; as writable as `payload` is."""
        return {
            field.name: np.ndarray(field.shape, DTYPES[field.dtype], payload, field.offset) for field in self.fields
        }

    def filled(self, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
        """A payload, uint8 (nbytes,), that holds `arrays`; gaps are zero."""
        payload = np.zeros(self.nbytes, np.uint8)
        for name, view in self.views(payload).items():
            view[:] = arrays[name]
        return payload

    def clear_gaps(self, payload: npt.NDArray[np.uint8]) -> None:
        """Zeroes the padding between arrays, so that the payload's bytes depend on the batch alone."""
        for start, end in self._gaps:
            payload[start:end] = 0

    @cached_property
    def _gaps(self) -> list[tuple[int, int]]:
        ends = [field.offset + field.nbytes for field in self.fields]
        return [(end, aligned(end)) for end in ends if end != aligned(end)]

    @cached_property
    def wire(self) -> bytes:
        """What a message carries."""
        wire: bytes = msgpack.packb([[field.name, field.dtype, field.shape, field.offset] for field in self.fields])
        return wire

    @cached_property
    def digest(self) -> int:
        """xxh3_64 of `wire`."""
        return xxhash.xxh3_64_intdigest(self.wire)

    @classmethod
    def from_wire(cls, wire: bytes, capacity: int) -> Layout:
        """Reads what `wire` wrote and checks it against a slot of `capacity` payload bytes.

        Raises:
            LayoutError: unknown dtype, bad shape, overlapping or misaligned arrays, or bytes beyond `capacity`.
        """
        layout = _parsed(wire)
        if layout.nbytes > capacity:
            raise LayoutError(f"the arrays end at byte {layout.nbytes}, the slot holds {capacity}")
        return layout


@lru_cache(64)  # a stream has few layouts, and one in every message
def _parsed(wire: bytes) -> Layout:
    if len(wire) > MAX_WIRE_BYTES:
        raise LayoutError(f"a layout of {len(wire)} bytes, the limit is {MAX_WIRE_BYTES}")
    try:
        rows = msgpack.unpackb(wire, max_ext_len=0, max_map_len=0)
    except Exception as error:
        raise LayoutError(f"not msgpack within the limits: {type(error).__name__}") from None
    if not isinstance(rows, list) or len(rows) > MAX_FIELDS:
        raise LayoutError(f"a layout is a list of at most {MAX_FIELDS} arrays")
    fields, end = [], 0
    for row in rows:
        field = _field_from_wire(row)
        if field.offset % ALIGNMENT or field.offset < end:
            raise LayoutError(f"array {field.name!r} at offset {field.offset} overlaps or is not aligned")
        end = field.offset + field.nbytes
        fields.append(field)
    if len({field.name for field in fields}) != len(fields):
        raise LayoutError("two arrays of one name")
    return Layout(tuple(fields))


def _field_from_wire(row: object) -> Field:
    if not isinstance(row, list) or len(row) != 4:
        raise LayoutError("an array is [name, dtype, shape, offset]")
    name, dtype, shape, offset = row
    if not isinstance(name, str) or not isinstance(dtype, str) or dtype not in DTYPES:
        raise LayoutError(f"array {name!r} has dtype {dtype!r}, allowed are {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_is_size(n) for n in [*shape, offset]):
        raise LayoutError(f"array {name!r} has a bad shape or offset")
    return Field(name, dtype, tuple(shape), offset)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40

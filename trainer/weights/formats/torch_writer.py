"""Weights as ``torch.save({"state_dict": OrderedDict(...)}, FILE)`` writes them, for PyTorch and MMDetection.

The layout is that of `torch_zip`. The numbers of every tensor begin at a multiple of 64 bytes, as PyTorch promises to
those who map such a file into memory.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pickle import (
    BININT,
    BINPERSID,
    BINUNICODE,
    EMPTY_DICT,
    EMPTY_TUPLE,
    GLOBAL,
    LONG1,
    MARK,
    NEWFALSE,
    PROTO,
    REDUCE,
    SETITEM,
    SETITEMS,
    STOP,
    TUPLE,
)

import numpy as np

from trainer.weights.formats.pickled import STORAGE_DTYPES

FOLDER = "archive"
FORMAT_VERSION = "3"
ALIGNMENT = 64
_STORAGES = {dtype: storage for storage, dtype in STORAGE_DTYPES.items()}
_LOCAL_HEADER_BYTES = 30
_PADDING_FIELD = b"FB"  # the name of the extra field that PyTorch pads with


def dumps(state_dict: dict[str, np.ndarray]) -> bytes:
    """The file's bytes; tensors keep their order, names, shapes and dtypes.

    Raises:
        KeyError: a dtype that PyTorch has no tensors of.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, file, "data.pkl", _description(state_dict))
        _add(archive, file, "byteorder", b"little")
        for number, array in enumerate(state_dict.values()):
            _add(archive, file, f"data/{number}", np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
        _add(archive, file, "version", FORMAT_VERSION.encode() + b"\n")
    return file.getvalue()


def _add(archive: zipfile.ZipFile, file: io.BytesIO, name: str, content: bytes | memoryview) -> None:
    """Appends a member whose content is aligned."""
    member = zipfile.ZipInfo(f"{FOLDER}/{name}")
    used = file.tell() + _LOCAL_HEADER_BYTES + len(member.filename) + 4
    padding = -used % ALIGNMENT
    member.extra = _PADDING_FIELD + struct.pack("<H", padding) + bytes(padding)
    archive.writestr(member, content)


def _description(state_dict: dict[str, np.ndarray]) -> bytes:
    """The pickle. Written by hand: Python's own pickler names no class that it cannot import."""
    empty = _global("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE
    out = [PROTO, b"\x02", EMPTY_DICT, _text("state_dict"), empty, MARK]
    for number, (name, array) in enumerate(state_dict.items()):
        storage = [_text("storage"), _global("torch", _STORAGES[array.dtype.name]), _text(str(number)), _text("cpu")]
        out += [_text(name), _global("torch._utils", "_rebuild_tensor_v2"), MARK]
        out += [MARK, *storage, _integer(array.size), TUPLE, BINPERSID]
        out += [_integer(0), _integers(array.shape), _integers(_strides(array.shape)), NEWFALSE, empty, TUPLE, REDUCE]
    out += [SETITEMS, SETITEM, STOP]
    return b"".join(out)


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Of a contiguous tensor, in numbers."""
    return [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]


def _global(module: str, name: str) -> bytes:
    return GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    if value < 2**31:
        return BININT + struct.pack("<i", value)
    return LONG1 + b"\x08" + struct.pack("<q", value)


def _integers(values: tuple[int, ...] | list[int]) -> bytes:
    return MARK + b"".join(map(_integer, values)) + TUPLE

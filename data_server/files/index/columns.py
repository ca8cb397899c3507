"""Columns: arrays in a folder, mapped into memory when they are asked for.

    FOLDER/header.json     [xxh3_64 of the second entry's text, {"format", "facts", "columns": {NAME: [dtype, shape,
                           xxh3_64 of its bytes]}}]
    FOLDER/NAME.npy        numpy's own format, version 1.0
    FOLDER/NAME.ends.npy   where each text of a column of texts ends in NAME.bytes.npy, which is UTF-8

A folder is written under another name and renamed, so it is whole or not there. When it is opened, the sizes of all
columns are compared, and their bytes hashed where that has not been done since any was last written to
(`shared.contents`): what was cut short, overwritten or has lost a bit is `Damaged`, and nobody gets its numbers.

Arrow IPC would say the same in one file, with types for text, for 45 MB of a dependency; numpy is there already, maps
its files without copying, and every tool reads them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

from shared import json_text
from shared.contents import once

FORMAT = "unidetector index 1"
HEADER = "header.json"
_STEP = 1 << 20  # bytes that are hashed at a time: what a core has in its cache
_ROOM = 1 << 18  # bytes of a column that are written at a time

Array = npt.NDArray[Any]


class Damaged(Exception):
    """A folder that does not hold what it held when it was made, or was made by another version; the text says what."""


class Growing:
    """A column that is being written, from its first row to its last.

    Args:
        row: the shape of a row; () where it is a number.
    """

    def __init__(self, folder: Path, name: str, dtype: npt.DTypeLike, row: tuple[int, ...] = ()) -> None:
        self.name = name
        self.dtype = np.dtype(dtype)
        self.path = folder / f"{name}.npy"
        self._row = row
        self._rows = 0
        self._digest = xxhash.xxh3_64()
        self._file: BinaryIO = self.path.open("w+b", _ROOM)
        self._write_header()

    def append(self, rows: Array) -> None:
        """Adds `rows`, (n, ...) of what converts to the column's dtype without loss."""
        data = np.ascontiguousarray(rows, self.dtype).data.cast("B") if len(rows) else b""
        self._file.write(data)
        self._digest.update(data)
        self._rows += len(rows)

    def mapped(self) -> Array:
        """What has been written so far."""
        self._write_header()
        with self.path.open("rb") as file:
            return _mapped(file, self.dtype, (self._rows, *self._row))

    def finish(self) -> list[Any]:
        """Closes the file; returns its entry in the header."""
        self._write_header()
        self._file.close()
        return [self.dtype.str, [self._rows, *self._row], self._digest.hexdigest()]

    def discard(self) -> None:
        """Closes the file and removes it."""
        self._file.close()
        self.path.unlink()

    def _write_header(self) -> None:
        self._file.flush()
        self._file.seek(0)
        # numpy leaves room in it for the largest number of rows, so that it can be written again.
        shape = (self._rows, *self._row)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)  # type: ignore[no-untyped-call]
        self._file.seek(0, os.SEEK_END)
        self._file.flush()


def write(folder: Path, name: str, rows: Array) -> tuple[str, list[Any]]:
    """Writes a whole column; returns its name and its entry in the header."""
    column = Growing(folder, name, rows.dtype, rows.shape[1:])
    column.append(rows)
    return name, column.finish()


def write_header(folder: Path, facts: dict[str, Any], columns: dict[str, list[Any]]) -> None:
    """Writes what makes `folder` complete.

    Args:
        facts: plain data about the whole.
        columns: the entries of all columns, by name.
    """
    text = json.dumps({"format": FORMAT, "facts": facts, "columns": columns})
    with (folder / HEADER).open("wb") as file:
        file.write(json.dumps([xxhash.xxh3_64(text.encode()).hexdigest(), text]).encode())


class Texts(Sequence[str]):
    """A column of texts."""

    def __init__(self, ends: Array, characters: Array) -> None:
        self.ends = ends
        self.bytes = characters

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        start = int(self.ends[row - 1]) if row else 0
        return self.bytes[start : int(self.ends[row])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def __deepcopy__(self, _memo: Any) -> Texts:
        return self  # mapped, and never written to


def texts_written(folder: Path, name: str, lengths: Iterable[Array]) -> tuple[str, list[Any]]:
    """Writes where the texts of a column end, whose bytes have been written."""
    ends = np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))
    return write(folder, f"{name}.ends", narrowed(ends))


def narrowed(numbers: Array) -> Array:
    """Integers in the smaller type of int32 and int64 that holds them all."""
    most = np.iinfo(np.int32)
    fit = len(numbers) == 0 or (numbers.min() >= most.min and numbers.max() <= most.max)
    return numbers.astype(np.int32 if fit else np.int64)


class Columns:
    """A folder that was opened.

    Attributes:
        facts: as they were given to `write_header`.
    """

    def __init__(self, folder: Path) -> None:
        """Raises Damaged, or OSError where there is no such folder."""
        self.folder = folder
        try:
            digest, text = json_text.parse((folder / HEADER).read_bytes())
            if xxhash.xxh3_64(text.encode()).hexdigest() != digest:
                raise ValueError("its header is damaged")
            header = json_text.parse(text)
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}, expected {FORMAT!r}")
        except FileNotFoundError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(f"{folder}: {error}") from None
        self._header: str = digest
        self.facts: dict[str, Any] = header["facts"]
        self._entries: dict[str, list[Any]] = header["columns"]
        # Mapped at once: a folder that is removed while it is in use stays readable.
        self._arrays: dict[str, Array] = {}
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context(self._opened(name)) for name in self._entries}
            for name, (dtype, shape, _) in self._entries.items():
                self._arrays[name] = self._map(name, files[name], np.dtype(dtype), tuple(shape))
            if once([file.fileno() for file in files.values()], self._look) != self._header:
                self._look()  # they were found whole under another header

    def __deepcopy__(self, _memo: Any) -> Columns:
        return self  # mapped, and never written to

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> Array:
        """A column, read-only."""
        return self._arrays[name]

    def texts(self, name: str) -> Texts:
        """A column of texts."""
        return Texts(self[f"{name}.ends"], self[f"{name}.bytes"])

    def _opened(self, name: str) -> BinaryIO:
        try:
            return (self.folder / f"{name}.npy").open("rb")
        except OSError as error:
            raise Damaged(f"{self.folder}: column {name!r}: {error}") from None

    def _map(self, name: str, file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        try:
            return _mapped(file, dtype, shape)
        except (OSError, ValueError) as error:
            raise Damaged(f"{self.folder}: column {name!r}: {error}") from None

    def _look(self) -> str:
        """Reads all bytes; returns the header's digest. Raises Damaged where some are others than those that were
        written."""
        for name, array in self._arrays.items():
            digest, data = xxhash.xxh3_64(), array.reshape(-1).view(np.uint8)
            for start in range(0, len(data), _STEP):
                digest.update(data[start : start + _STEP].data)
            if digest.hexdigest() != self._entries[name][2]:
                raise Damaged(f"{self.folder}: column {name!r} is damaged")
        return self._header


def _mapped(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if np.lib.format.read_magic(file) != (1, 0):  # type: ignore[no-untyped-call]
        raise ValueError("another version of numpy's format")
    found = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
    nbytes = int(np.prod(shape)) * dtype.itemsize
    size, start = os.fstat(file.fileno()).st_size, file.tell()
    if found != (shape, False, dtype) or size != start + nbytes:
        raise ValueError(f"{size} bytes of {found}, expected {start + nbytes} of {dtype} {shape}")
    if not nbytes:  # nothing can be mapped
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", start, shape).view(np.ndarray)

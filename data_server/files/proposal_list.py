"""Proposals as the PyTorch UniDetector exchanges them: a pickled list with one float32 (n,5) array per image.

The list is in the order of the annotation file's images, all of them, whatever the data set then filters out; nothing
in it says whose proposals they are. It is read without executing anything of it (`shared.pickles`), as a stream: the
rows of each array go to a file without a name in the directory for temporary files, which is mapped.
``python -m data_server proposals`` writes one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import numpy as np
import xxhash

from data_server.files.proposal_file import COLUMNS
from shared import pickles
from shared.errors import UserError
from shared.files import ANOTHER_OUT, save
from shared.regular import unfit

_FLOATS = ("f2", "f4", "f8")
_ORDERS = ("<", ">", "=", "|")
_ROW_BYTES = 4 * COLUMNS
_SHOWN = 20  # characters of a type in a message
_MOST_NUMBERS = 4  # for each byte of a file: one array may stand for several images


class _Dtype:
    """numpy.dtype('f4', ...) and the byte order that its state brings.

    Attributes:
        fault: what is wrong with an array of it; None for floats.
    """

    def __init__(self, code: Any) -> None:
        self.text = code if isinstance(code, str) else type(code).__name__
        self.fault: str | None = f"an array of {self.text[:_SHOWN]!r}; expected floats"
        if self.text.startswith("O"):
            self.fault = "a numpy array of objects; expected a list with an array for each image"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.text in _FLOATS and state[1] in _ORDERS:
            self.text, self.fault = state[1] + self.text, None


class _Array:
    """numpy.ndarray's pickled form, whose rows have been put aside.

    Attributes:
        first, count: which of all rows are its own.
        shape: of the array, where it is none of proposals.
    """

    __slots__ = ("_machine", "count", "first", "shape")

    def __init__(self, machine: _Machine) -> None:
        self._machine = machine
        self.first = self.count = 0
        self.shape: tuple[int, ...] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.read(data, dtype, shape, "F" if fortran else "C")

    def read(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> None:
        if dtype.fault:
            raise UserError(f"{self._machine.where}: it holds {dtype.fault}")
        rows = np.frombuffer(data, np.dtype(dtype.text)).reshape(shape, order=order).astype(np.float32)
        if rows.size == 0:
            return
        if rows.ndim != 2 or rows.shape[1] not in (4, COLUMNS):
            self.shape = rows.shape
            return
        if rows.shape[1] == 4:
            rows = np.column_stack([rows, np.ones(len(rows), np.float32)])
        self.first, self.count = self._machine.put_aside(rows), len(rows)


class _Arrays(list[Any]):
    """A list that keeps where the rows of its arrays are, and no array.

    Attributes:
        fault: what is wrong with the first entry that is no array of proposals; None where there is none.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self.firsts, self.counts = array("q"), array("q")
        self.fault: str | None = None

    def __iadd__(self, items: Any) -> _Arrays:  # type: ignore[misc]  # what list calls Self
        for item in items:
            if isinstance(item, _Array) and item.shape is None:
                self.firsts.append(item.first)
                self.counts.append(item.count)
            elif self.fault is None:
                self.fault = f"entry {len(self.counts)} {_fault(item)}"
        return self


def _fault(item: Any) -> str:
    """What is wrong with an entry of the list of all images."""
    if isinstance(item, _Array):
        return f"has shape {item.shape}; expected (n, 5): x1, y1, x2, y2, score"
    if isinstance(item, _Arrays):
        if item.counts and item.fault is None:
            return "is a list of arrays, as of one for each class; expected one array (n, 5), so join them"
        return "is a list; expected an array (n, 5)"
    return f"is a {type(item).__name__}; expected an array (n, 5)"


class _Machine(pickles.Machine):
    """
    Args:
        until: when that ends, nothing is kept aside any more.
    """

    def __init__(self, where: str, length: int, until: contextlib.ExitStack) -> None:
        super().__init__(where, length)
        self.rows = 0
        self.digest = xxhash.xxh3_64()
        self._until = until
        self._aside: IO[bytes] | None = None

    def put_aside(self, rows: np.ndarray) -> int:
        """Keeps `rows` f32 (n,5) on disk. Returns how many were there before."""
        content, before = rows.tobytes(), self.rows
        with self._told():
            if self._aside is None:
                self._aside = tempfile.TemporaryFile()  # noqa: SIM115 - until all has been read
                self._until.callback(_closed, self._aside)
            self._aside.write(content)
        self.digest.update(content)
        self.rows += len(rows)
        return before

    def mapped(self) -> np.ndarray:
        """All rows f32 (N,5), read-only."""
        if self._aside is None:  # nothing can be mapped
            return np.zeros((0, COLUMNS), np.float32)
        with self._told():
            self._aside.flush()
            return np.memmap(self._aside, np.float32, "r", shape=(self.rows, COLUMNS))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Inside, a disk that takes no more becomes a line for the user."""
        try:
            yield
        except OSError as error:
            place = os.environ.get("TMPDIR", "the directory for temporary files")
            raise UserError(
                f"{self.where}: its boxes are kept in {place}, {_ROW_BYTES * self.rows >> 20} MiB so far: "
                f"{error.strerror or error}; make room there, or start the data server with TMPDIR=<another directory>"
            ) from None

    def new_list(self) -> list[Any]:
        return _Arrays(self.where)

    def _array(self, *_: Any) -> _Array:
        return _Array(self)

    def _array_of_buffer(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> _Array:
        array = _Array(self)
        array.read(data, dtype, shape, order)
        return array

    def _dtype(self, code: Any, *_: Any) -> _Dtype:
        return _Dtype(code)

    def _encoded(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError("text in another encoding than latin1")
        self.spend(len(text))
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        return b""

    def _not_called(self, *_: Any) -> Any:
        raise pickle.UnpicklingError("an array without numbers")

    MEANINGS: ClassVar = {
        **dict.fromkeys(
            [("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")], _array
        ),
        **dict.fromkeys(
            [("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")], _array_of_buffer
        ),
        ("numpy", "ndarray"): _not_called,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _encoded,
        ("__builtin__", "bytes"): _no_bytes,
    }

    def unknown(self, named: pickles.Named) -> pickles.LeftOut:
        raise UserError(
            f"{self.where}: its pickle asks for {named}, which a list of proposals does not need; refused, nothing was "
            "executed"
        )


def _closed(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # a full disk has been reported
        file.close()


@dataclass(frozen=True)
class ProposalList:
    """What a pickled list holds.

    Attributes:
        counts, starts: i64 (images,), how many rows each image has, and the first of them.
        rows: f32 (N,5), mapped.
        digest: of all that.
    """

    counts: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    digest: str


def read(path: Path) -> ProposalList:
    """A list of float arrays (n,5); a column of ones is added to (n,4).

    Raises:
        UserError: no such file, not a pickle, not a list of such arrays, or it asks for something else than arrays; the
            disk for temporary files is full.
    """
    where = f"proposal file {str(path)!r}"
    if fault := unfit(path):
        raise UserError(f"{where}: {fault}")
    with contextlib.ExitStack() as until:
        try:
            with path.open("rb") as file:
                content, machine = pickles.load(file, where, partial(_Machine, until=until))
        except OSError as error:
            raise UserError(f"{where}: {error.strerror}") from None
        return _checked(content, machine, where)


def _checked(content: Any, machine: _Machine, where: str) -> ProposalList:
    if not isinstance(content, _Arrays):
        held = "numpy array" if isinstance(content, _Array) else type(content).__name__
        raise UserError(f"{where}: it holds a {held}; expected a list with an array for each image")
    if content.fault:
        raise UserError(f"{where}: {content.fault}")
    counts, starts = np.array(content.counts, np.int64), np.array(content.firsts, np.int64)
    numbers = COLUMNS * int(counts.sum())
    if numbers > _MOST_NUMBERS * machine.length:
        raise UserError(f"{where}: its arrays have {numbers} numbers, in {machine.length} bytes; make the file again")
    in_order = np.where(counts > 0, np.cumsum(counts) - counts, 0)
    if not np.array_equal(starts, in_order):  # one array stands for several images
        machine.digest.update(starts.tobytes())
    return ProposalList(counts, starts, machine.mapped(), machine.digest.hexdigest())


def write(path: Path, proposals: list[np.ndarray]) -> None:
    """Writes the list; `path` appears complete or not at all.

    Raises:
        UserError: it cannot be written.
    """
    content = pickle.dumps([np.array(rows, np.float32) for rows in proposals], protocol=2)
    save(path, content, ANOTHER_OUT)

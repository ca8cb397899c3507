"""Proposals as the PyTorch UniDetector exchanges them: a pickled list with one float32 (n,5) array per image.

The list is in the order of the annotation file's images, all of them, whatever the data set then filters out; nothing
in it says whose proposals they are. It is read without executing anything of it (`shared.pickles`): arrays are
descriptions here until their bytes have been looked at. ``python -m data_server proposals`` writes one.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from data_server.files.regular import unfit
from shared import pickles
from shared.errors import UserError
from shared.files import ANOTHER_OUT, save

_FLOATS = ("f2", "f4", "f8")
_ORDERS = ("<", ">", "=", "|")
_SHOWN = 20  # characters of a type in a message
_MOST_NUMBERS = 4  # for each byte of a file: one array may stand for several images


class _Dtype:
    """numpy.dtype('f4', ...) and the byte order that its state brings."""

    def __init__(self, code: Any) -> None:
        self.text = code if isinstance(code, str) else type(code).__name__

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.text not in _FLOATS or state[1] not in _ORDERS:
            raise pickle.UnpicklingError(f"an array of {self.text[:_SHOWN]!r}; expected floats")
        self.text = state[1] + self.text


class _Array:
    """numpy.ndarray's pickled form: bytes, and how to read them."""

    def __init__(self) -> None:
        self.numbers = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self._read(data, dtype, shape, "F" if fortran else "C")

    def _read(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> None:
        self.numbers = np.frombuffer(data, np.dtype(dtype.text)).reshape(shape, order=order)


class _Machine(pickles.Machine):
    def _array(self, *_: Any) -> _Array:
        return _Array()

    def _array_of_buffer(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> _Array:
        array = _Array()
        array._read(data, dtype, shape, order)
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


def read(path: Path) -> list[np.ndarray]:
    """The arrays f32 (n,5) of a pickled list; a column of ones is added to (n,4).

    Raises:
        UserError: no such file, not a pickle, not a list of such arrays, or it asks for something else than arrays.
    """
    where = f"proposal file {str(path)!r}"
    if fault := unfit(path):
        raise UserError(f"{where}: {fault}")
    try:
        with path.open("rb") as file:
            content, machine = pickles.load(file, where, _Machine)
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}") from None
    if not isinstance(content, list):
        raise UserError(f"{where}: it holds a {type(content).__name__}; expected a list with an array for each image")
    numbers = sum(item.numbers.size for item in content if isinstance(item, _Array))
    if numbers > _MOST_NUMBERS * machine.length:
        raise UserError(f"{where}: its arrays have {numbers} numbers, in {machine.length} bytes; make the file again")
    return [_checked(item, f"{where}: entry {number}") for number, item in enumerate(content)]


def _checked(item: Any, where: str) -> np.ndarray:
    if not isinstance(item, _Array):
        raise UserError(f"{where} is a {type(item).__name__}; expected an array (n, 5)")
    rows = item.numbers.astype(np.float32)
    if rows.size == 0:
        return np.zeros((0, 5), np.float32)
    if rows.ndim != 2 or rows.shape[1] not in (4, 5):
        raise UserError(f"{where} has shape {rows.shape}; expected (n, 5): x1, y1, x2, y2, score")
    return rows if rows.shape[1] == 5 else np.column_stack([rows, np.ones(len(rows), np.float32)])


def write(path: Path, proposals: list[np.ndarray]) -> None:
    """Writes the list; `path` appears complete or not at all.

    Raises:
        UserError: it cannot be written.
    """
    content = pickle.dumps([np.array(rows, np.float32) for rows in proposals], protocol=2)
    save(path, content, ANOTHER_OUT)

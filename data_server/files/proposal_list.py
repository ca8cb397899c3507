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

from shared import pickles
from shared.errors import UserError
from shared.files import whole
from shared.pickles import Call

_FLOATS = ("f2", "f4", "f8")
_ORDERS = ("<", ">", "=", "|")


class _Dtype:
    """numpy.dtype('f4', ...) and the byte order that its state brings."""

    def __init__(self, code: str) -> None:
        self.text = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.text not in _FLOATS or state[1] not in _ORDERS:
            raise pickle.UnpicklingError(f"an array of {self.text!r}; expected floats")
        self.text = state[1] + self.text


class _Array:
    """numpy.ndarray's pickled form: bytes, and how to read them."""

    def __init__(self) -> None:
        self.numbers = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self._read(data, dtype, shape, "F" if fortran else "C")

    def _read(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> None:
        self.numbers = np.frombuffer(data, np.dtype(dtype.text)).reshape(shape, order=order).astype(np.float32)

    @classmethod
    def of_buffer(cls, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> _Array:
        array = cls()
        array._read(data, dtype, shape, order)
        return array


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text as {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickles.Unpickler):
    ALLOWED: ClassVar = {
        **{(f"numpy.{package}.multiarray", "_reconstruct"): Call(lambda *_: _Array()) for package in ("core", "_core")},
        **{(f"numpy.{package}.numeric", "_frombuffer"): Call(_Array.of_buffer) for package in ("core", "_core")},
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "dtype"): Call(lambda code, *_: _Dtype(code)),
        ("_codecs", "encode"): Call(_encoded),
        ("__builtin__", "bytes"): Call(lambda: b""),
    }
    REFUSAL = "which a list of proposals does not need; refused, nothing was executed"


def read(path: Path) -> list[np.ndarray]:
    """The arrays f32 (n,5) of a pickled list; a column of ones is added to (n,4).

    Raises:
        UserError: no such file, not a pickle, not a list of such arrays, or it asks for something else than arrays.
    """
    where = f"proposal file {str(path)!r}"
    try:
        with path.open("rb") as file:
            content, _ = pickles.load(file, where, _Unpickler)
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}") from None
    if not isinstance(content, list):
        raise UserError(f"{where}: it holds a {type(content).__name__}; expected a list with an array for each image")
    return [_checked(item, f"{where}: entry {number}") for number, item in enumerate(content)]


def _checked(item: Any, where: str) -> np.ndarray:
    if not isinstance(item, _Array):
        raise UserError(f"{where} is a {type(item).__name__}; expected an array (n, 5)")
    rows = item.numbers
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            pickle.dump([np.array(rows, np.float32) for rows in proposals], file, protocol=2)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --out") from error

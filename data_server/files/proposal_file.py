"""Proposals of all images of a data set in one file: what stage 1 found, and stage 2 is trained on.

The file is a safetensors file (readable with that package, no pickle):

    counts      i64 (images,)   how many proposals each image has
    proposals   f32 (N,5)       x1,y1,x2,y2 in pixels of the ORIGINAL image and a score, by descending score; the rows
                                of image 0, then those of image 1, ...; N = sum of counts
    metadata    format          "unidetector-proposals 1"
                images          JSON: [[id, "folder/name.jpg"], ...], by which images are found again, whatever the
                                order or the filter of the data set that reads them
                model, data     fingerprints of the model that found them and of that list of images
                about           free text

Rows are mapped into memory when read, never copied, so that all workers share them. While a file is being made, its two
arrays grow beside it, batch by batch, and it appears under its name only when every image has its proposals::

    NAME.safetensors.rows, NAME.safetensors.counts  ──finish──►  NAME.safetensors
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
import xxhash

from data_server.files.regular import unfit
from shared import json_text
from shared.errors import UserError
from shared.faults import reach
from shared.files import whole

FORMAT = "unidetector-proposals 1"
SUFFIX = ".safetensors"
COLUMNS = 5
_ROW_BYTES = 4 * COLUMNS
_COUNT_BYTES = 8
_MAX_HEADER_BYTES = 1 << 30
_FINGERPRINT = re.compile(r"[0-9A-Za-z]{1,128}")  # it becomes part of file names

_IDENTITIES = (int, str, float, type(None))

ImageKey = tuple[Any, str]  # id, "folder/name"


@dataclass(frozen=True)
class ProposalFile:
    """A file that was opened: see the module's text. `rows` is a read-only map of ``proposals``."""

    path: Path
    images: list[ImageKey]
    counts: np.ndarray
    rows: np.ndarray
    model: str
    data: str

    @classmethod
    def open(cls, path: Path) -> ProposalFile:
        """Raises UserError: no such file, or it is cut short or no file of proposals."""
        if fault := unfit(path):
            raise UserError(f"proposal file {str(path)!r}: {fault}")
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > min(size, _MAX_HEADER_BYTES):
                    raise ValueError(f"a header of {length} bytes in a file of {size}")
                header = json_text.parse(file.read(length), unique=True)
            metadata = header["__metadata__"]
            if metadata["format"] != FORMAT:
                raise ValueError(f"its format is {metadata['format']!r}, expected {FORMAT!r}")
            images = [(identity, name) for identity, name in json_text.parse(metadata["images"])]
            if not all(isinstance(key[0], _IDENTITIES) and isinstance(key[1], str) for key in images):
                raise ValueError("an image that is no id and name")
            counts = _mapped(path, header["counts"], "I64", np.int64, 8 + length, size)
            rows = _mapped(path, header["proposals"], "F32", np.float32, 8 + length, size)
            model, data = metadata["model"], metadata["data"]
            for key, value in (("model", model), ("data", data)):
                if not (isinstance(value, str) and _FINGERPRINT.fullmatch(value)):
                    raise ValueError(f"{key} is {short(value)}, expected a fingerprint: letters and digits")
            fit = counts.shape == (len(images),) and rows.ndim == 2 and rows.shape[1] == COLUMNS
            fit = fit and not ((counts < 0) | (counts > len(rows))).any() and counts.sum() == len(rows)
            if not fit or 8 + length + counts.nbytes + rows.nbytes != size:
                raise ValueError(f"{len(images)} images, counts {counts.shape}, proposals {rows.shape}")
        except OSError as error:
            raise UserError(f"proposal file {str(path)!r}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, OverflowError, AttributeError, struct.error) as error:
            raise UserError(
                f"proposal file {str(path)!r}: cut short, or not made by python -m trainer propose "
                f"({type(error).__name__}: {error}); make it again"
            ) from None
        return cls(path, images, np.array(counts), rows, model, data)


def _entry(dtype: str, shape: list[int], start: int, nbytes: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + nbytes]}


def _mapped(path: Path, entry: dict, kind: str, dtype: type, start: int, size: int) -> np.ndarray:
    first, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(number) is int for number in (first, end, *shape)):
        raise ValueError(f"an array {entry}")
    if entry["dtype"] != kind or min(shape) < 0 or end - first != int(np.prod(shape)) * np.dtype(dtype).itemsize:
        raise ValueError(f"an array {entry}")
    if start + end > size or first < 0:
        raise ValueError(f"the file ends at byte {size}, an array at {start + end}")
    if first == end:  # nothing can be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", start + first, shape)


def image_key(info: dict[str, Any]) -> ImageKey:
    """What MMDetection's record of an image says it is: its id and, as in MMDetection's own proposal files, the last
    two parts of its path."""
    return info.get("img_id"), "/".join(Path(info["img_path"]).parts[-2:])


def fingerprint(images: list[ImageKey]) -> str:
    """Of a list of images."""
    return xxhash.xxh3_64(json.dumps(images).encode()).hexdigest()


class Writer:
    """Makes the file of one data set and one model, in as many calls as it takes; any of them may be the first after a
    crash. While it grows it is one writer's alone.

    Args:
        folder: where the file goes; it is named by the annotation file and both fingerprints.
        images: all images of the data set, in its order.
    """

    def __init__(self, folder: Path, title: str, images: list[ImageKey], model: str, about: str) -> None:
        self._images, self._model, self._about = images, model, about
        self._data = fingerprint(images)
        self.path = folder / f"{title}-{self._data[:8]}-{model[:8]}{SUFFIX}"
        self._rows, self._counts = (self.path.with_name(self.path.name + end) for end in (".rows", ".counts"))
        self._growing: _Growing | None = None

    @property
    def done(self) -> int:
        """How many images have their proposals.

        Raises:
            UserError: another process is at work on the file.
        """
        if self.path.exists():
            return len(self._images)
        if self._growing is None and not self._counts.exists():
            return 0
        return self._grow().images

    def append(self, first: int, counts: np.ndarray, rows: np.ndarray) -> None:
        """Adds the `rows` f32 (M,5) of images `first`, `first` + 1, ...; what was there of them before is replaced.

        Raises:
            UserError: images before `first` have no proposals yet, or another process is at work on the file.
            OSError: the disk is full, or writing is not permitted.
        """
        if first > self.done:
            raise UserError(
                f"proposals of image {first} for {self.path}, which has {self.done}: it was changed by somebody else; "
                "start the task again"
            )
        if not self.path.exists():
            self._grow().append(first, counts, rows)

    def finish(self) -> None:
        """If every image has its proposals, the file appears under its name, the newest one of its folder. What an
        earlier process has left of its making is removed.

        Raises:
            OSError: the disk is full, or writing is not permitted.
        """
        if self.done < len(self._images):
            return
        if not self.path.exists():
            self._put_together()
            reach("proposals.whole")
        os.utime(self.path)
        if self._growing is not None:
            self._growing.close()
            self._growing = None
        for path in (self._counts, self._rows):
            path.unlink(missing_ok=True)

    def _grow(self) -> _Growing:
        if self._growing is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._growing = _Growing(self._rows, self._counts)
        return self._growing

    def _put_together(self) -> None:
        counts, rows = self._counts.stat().st_size, self._rows.stat().st_size
        arrays = {
            "counts": _entry("I64", [counts // _COUNT_BYTES], 0, counts),
            "proposals": _entry("F32", [rows // _ROW_BYTES, COLUMNS], counts, rows),
        }
        metadata = {
            "format": FORMAT,
            "images": json.dumps(self._images),
            "model": self._model,
            "data": self._data,
            "about": self._about,
        }
        header = json.dumps({"__metadata__": metadata, **arrays}).encode()
        header += b" " * (-len(header) % 8)
        with whole(self.path) as target:
            target.write(struct.pack("<Q", len(header)) + header)
            for source in (self._counts, self._rows):
                with source.open("rb") as file:
                    shutil.copyfileobj(file, target, 1 << 20)


class _Growing:
    """The two arrays of a file that is being made, as files that this process alone writes.

    Attributes:
        images: how many have their proposals.
    """

    def __init__(self, rows: Path, counts: Path) -> None:
        """Raises UserError when another process has them, OSError when they cannot be written."""
        self._rows, self._counts = (
            os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) for path in (rows, counts)
        )
        try:
            fcntl.flock(self._counts, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UserError(f"{counts}: another process is writing these proposals; wait until it has ended") from None
        held = self._read_counts()
        ends = np.cumsum(held)
        # A power cut may have kept a count and lost its rows.
        self.images = int(np.searchsorted(ends, os.fstat(self._rows).st_size // _ROW_BYTES, side="right"))
        self._ends_at = int(held[: self.images].sum())  # in rows

    def append(self, first: int, counts: np.ndarray, rows: np.ndarray) -> None:
        """Adds the `rows` of images `first`, ...; what was there of them before is replaced."""
        if first < self.images:
            self._ends_at = int(self._read_counts()[:first].sum())
        os.ftruncate(self._counts, first * _COUNT_BYTES)
        os.ftruncate(self._rows, self._ends_at * _ROW_BYTES)
        self.images = first
        _write(self._rows, np.ascontiguousarray(rows, np.float32).data, self._ends_at * _ROW_BYTES)
        os.fsync(self._rows)  # a row that is counted is there
        reach("proposals.rows")
        _write(self._counts, counts.astype(np.int64).data, first * _COUNT_BYTES)
        reach("proposals.counted")
        self._ends_at += len(rows)
        self.images += len(counts)

    def close(self) -> None:
        """Another process may have them."""
        os.close(self._rows)
        os.close(self._counts)

    def _read_counts(self) -> np.ndarray:
        size = os.fstat(self._counts).st_size // _COUNT_BYTES * _COUNT_BYTES
        return np.frombuffer(os.pread(self._counts, size, 0), np.int64)


def _write(file: int, data: memoryview, place: int) -> None:
    left = data.cast("B") if data.nbytes else memoryview(b"")
    while left:
        written = os.pwrite(file, left, place)
        left, place = left[written:], place + written

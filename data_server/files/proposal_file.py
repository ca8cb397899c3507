"""Proposals of all images of a data set in one file: what stage 1 found, and stage 2 is trained on.

The file is a safetensors file (readable with that package, no pickle), with a header of 16 KiB:

    counts         i64 (images,)  how many proposals each image has
    image_hashes   u64 (images,)  ┐ by which images are found again, whatever the order or the filter of the data set
    image_ends     i64 (images,)  ├ that reads them: `ImageNames`
    images         u8 (B,)        ┘
    proposals      f32 (N,5)      x1,y1,x2,y2 in pixels of the ORIGINAL image and a score, by descending score; the rows
                                  of image 0, then those of image 1, ...; N = sum of counts
    metadata       format         "unidetector-proposals 2"
                   model, data    fingerprints of the model that found them and of the images
                   about          free text

All is mapped when it is read, never copied, so that all workers share it. The file grows in its place, and only what is
then known last is written last: an image's count, -1 until its rows are on the disk, and the header::

    NAME.safetensors.growing  ──rows, counts, rows, counts, ..., header──►  NAME.safetensors
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np

from data_server.files.image_names import ImageNames
from shared import json_text
from shared.errors import UserError
from shared.faults import reach
from shared.files import settle, write_at
from shared.regular import unfit

FORMAT = "unidetector-proposals 2"
SUFFIX = ".safetensors"
COLUMNS = 5
_ROW_BYTES = 4 * COLUMNS
_LENGTH = struct.Struct("<Q")
_HEADER_BYTES = (1 << 14) - _LENGTH.size
_MAX_HEADER_BYTES = 1 << 30  # of a file from elsewhere
_MOST_ABOUT = 2000  # characters, of up to 6 bytes in JSON
_UNKNOWN = -1
_FINGERPRINT = re.compile(r"[0-9A-Za-z]{1,128}")  # it becomes part of file names


@dataclass(frozen=True)
class ProposalFile:
    """A file that was opened: see the module's text.

    Attributes:
        counts, starts: i64 (images,), how many rows each image has, and the first of them.
        rows: a read-only map of ``proposals``.
    """

    path: Path
    images: ImageNames
    counts: np.ndarray
    starts: np.ndarray
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
                (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
                if length > min(size, _MAX_HEADER_BYTES):
                    raise ValueError(f"a header of {length} bytes in a file of {size}")
                header = json_text.parse(file.read(length), unique=True)
            metadata = header["__metadata__"]
            if metadata["format"] != FORMAT:
                raise UserError(
                    f"proposal file {str(path)!r}: its format is {short(metadata['format'])}, expected {FORMAT!r}; "
                    "make it again with python -m trainer propose"
                )
            names = ("counts", "image_hashes", "image_ends", "images", "proposals")
            start = _LENGTH.size + length
            counts, hashes, ends, text, rows = (
                _mapped(path, header[name], kind, start, size)
                for name, kind in zip(names, ("I64", "U64", "I64", "U8", "F32"), strict=True)
            )
            model, data = metadata["model"], metadata["data"]
            for key, value in (("model", model), ("data", data)):
                if not (isinstance(value, str) and _FINGERPRINT.fullmatch(value)):
                    raise ValueError(f"{key} is {short(value)}, expected a fingerprint: letters and digits")
            fit = counts.ndim == 1 and counts.shape == hashes.shape == ends.shape and text.ndim == 1
            fit = fit and rows.ndim == 2 and rows.shape[1] == COLUMNS
            fit = fit and not ((counts < 0) | (counts > len(rows))).any() and counts.sum() == len(rows)
            if not fit or start + sum(column.nbytes for column in (counts, hashes, ends, text, rows)) != size:
                raise ValueError(f"{len(hashes)} images, counts {counts.shape}, proposals {rows.shape}")
        except OSError as error:
            raise UserError(f"proposal file {str(path)!r}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, OverflowError, AttributeError, struct.error) as error:
            raise UserError(
                f"proposal file {str(path)!r}: cut short, or not made by python -m trainer propose "
                f"({type(error).__name__}: {error}); make it again"
            ) from None
        return cls(path, ImageNames(text, ends, hashes), counts, np.cumsum(counts) - counts, rows, model, data)


_DTYPES = {"I64": np.int64, "U64": np.uint64, "U8": np.uint8, "F32": np.float32}


def _mapped(path: Path, entry: dict[str, Any], kind: str, start: int, size: int) -> np.ndarray:
    first, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), np.dtype(_DTYPES[kind])
    if not all(type(number) is int for number in (first, end, *shape)):
        raise ValueError(f"an array {entry}")
    if entry["dtype"] != kind or min(shape) < 0 or end - first != int(np.prod(shape)) * dtype.itemsize:
        raise ValueError(f"an array {entry}")
    if start + end > size or first < 0:
        raise ValueError(f"the file ends at byte {size}, an array at {start + end}")
    if first == end:  # nothing can be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", start + first, shape)


class Writer:
    """Makes the file of one data set and one model, in as many calls as it takes; any of them may be the first after a
    crash. While it grows it is one writer's alone.

    Args:
        folder: where the file goes; it is named by the annotation file and both fingerprints.
        images: all images of the data set, in its order.
    """

    def __init__(self, folder: Path, title: str, images: ImageNames, model: str, about: str) -> None:
        self._images, data = images, images.fingerprint
        self._metadata = {"format": FORMAT, "model": model, "data": data, "about": about[:_MOST_ABOUT]}
        self.path = folder / f"{title}-{data[:8]}-{model[:8]}{SUFFIX}"
        self._growing_path = self.path.with_name(self.path.name + ".growing")
        self._growing: _Growing | None = None

    @property
    def done(self) -> int:
        """How many images have their proposals.

        Raises:
            UserError: another process is at work on the file.
            OSError: it cannot be written.
        """
        if self.path.exists():
            return len(self._images)
        if self._growing is None and not self._growing_path.exists():
            return 0
        return self._grow().images_done

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
        """If every image has its proposals, the file appears under its name, the newest one of its folder.

        Raises:
            OSError: the disk is full, or writing is not permitted.
        """
        if self.done < len(self._images):
            return
        if not self.path.exists():
            growing = self._grow()
            growing.head(self._metadata)
            reach("proposals.whole")
            settle(self._growing_path, self.path)
        os.utime(self.path)
        if self._growing is not None:
            self._growing.close()
            self._growing = None

    def _grow(self) -> _Growing:
        if self._growing is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._growing = _Growing(self._growing_path, self._images)
        return self._growing


class _Growing:
    """A file that is being made, which this process alone writes.

    Attributes:
        images_done: how many have their proposals.
    """

    def __init__(self, path: Path, images: ImageNames) -> None:
        """Raises UserError when another process has it, OSError when it cannot be written."""
        self._images = images
        self._counts_at = _LENGTH.size + _HEADER_BYTES
        self._hashes_at = self._counts_at + 8 * len(images)
        self._rows_at = self._counts_at + 24 * len(images) + images.text.nbytes
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _is_alone(self._file, path):
            self.close()
            raise UserError(f"{path}: another process is writing these proposals; wait until it has ended")
        if not self._has_begun():
            self._begin()
        counts = self._read_counts()
        known = counts[: np.argmin(counts)] if (counts == _UNKNOWN).any() else counts
        # A power cut may have kept a count and lost its rows.
        rows = (os.fstat(self._file).st_size - self._rows_at) // _ROW_BYTES
        self.images_done = int(np.searchsorted(np.cumsum(known), rows, side="right"))
        self._rows = int(known[: self.images_done].sum())

    def append(self, first: int, counts: np.ndarray, rows: np.ndarray) -> None:
        """Adds the `rows` of images `first`, ...; what was there of them before is replaced."""
        if first < self.images_done:
            self._rows = int(self._read_counts()[:first].sum())
            unknown = np.full(self.images_done - first, _UNKNOWN, np.int64)
            self.images_done = first
            write_at(self._file, unknown.tobytes(), self._counts_at + 8 * first)
            os.fsync(self._file)
        end = self._rows_at + self._rows * _ROW_BYTES
        os.ftruncate(self._file, end)
        write_at(self._file, rows.astype(np.float32).tobytes(), end)
        os.fsync(self._file)  # a row that is counted is there
        reach("proposals.rows")
        write_at(self._file, counts.astype(np.int64).tobytes(), self._counts_at + 8 * first)
        reach("proposals.counted")
        self._rows += len(rows)
        self.images_done += len(counts)

    def head(self, metadata: dict[str, str]) -> None:
        """Writes what makes it a safetensors file."""
        columns = (
            ("counts", "I64", [len(self._images)], 8 * len(self._images)),
            ("image_hashes", "U64", [len(self._images)], 8 * len(self._images)),
            ("image_ends", "I64", [len(self._images)], 8 * len(self._images)),
            ("images", "U8", [self._images.text.nbytes], self._images.text.nbytes),
            ("proposals", "F32", [self._rows, COLUMNS], self._rows * _ROW_BYTES),
        )
        header: dict[str, Any] = {"__metadata__": metadata}
        start = 0
        for name, dtype, shape, nbytes in columns:
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, start + nbytes]}
            start += nbytes
        content = json.dumps(header).encode().ljust(_HEADER_BYTES)
        os.ftruncate(self._file, self._rows_at + self._rows * _ROW_BYTES)
        write_at(self._file, content, _LENGTH.size)
        os.fsync(self._file)

    def close(self) -> None:
        """Another process may have it."""
        os.close(self._file)

    def _has_begun(self) -> bool:
        """Whether all was written that `_begin` writes, for these images."""
        if os.pread(self._file, _LENGTH.size, 0) != _LENGTH.pack(_HEADER_BYTES):
            return False
        return os.pread(self._file, self._images.hashes.nbytes, self._hashes_at) == self._images.hashes.tobytes()

    def _begin(self) -> None:
        """Writes all that is known before the first row, and then, at the very beginning, that this is so."""
        os.ftruncate(self._file, 0)
        unknown = np.full(len(self._images), _UNKNOWN, np.int64)
        place = self._counts_at
        for column in (unknown, self._images.hashes, self._images.ends, self._images.text):
            write_at(self._file, column.tobytes(), place)
            place += column.nbytes
        os.fsync(self._file)
        reach("proposals.begun")
        write_at(self._file, _LENGTH.pack(_HEADER_BYTES), 0)

    def _read_counts(self) -> np.ndarray:
        return np.frombuffer(os.pread(self._file, 8 * len(self._images), self._counts_at), np.int64)


def _is_alone(file: int, path: Path) -> bool:
    """Locks an open `file`; whether it is this process's, and still the one that `path` names."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False

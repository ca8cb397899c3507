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
    crash.

    Args:
        folder: where the file goes; it is named by the annotation file and both fingerprints.
        images: all images of the data set, in its order.
    """

    def __init__(self, folder: Path, title: str, images: list[ImageKey], model: str, about: str) -> None:
        self._images, self._model, self._about = images, model, about
        self._data = fingerprint(images)
        self.path = folder / f"{title}-{self._data[:8]}-{model[:8]}{SUFFIX}"
        self._rows, self._counts = (self.path.with_name(self.path.name + end) for end in (".rows", ".counts"))

    @property
    def done(self) -> int:
        """How many images have their proposals."""
        if self.path.exists():
            return len(self._images)
        return self._counts.stat().st_size // _COUNT_BYTES if self._counts.exists() else 0

    def append(self, first: int, counts: np.ndarray, rows: np.ndarray) -> None:
        """Adds the `rows` f32 (M,5) of images `first`, `first` + 1, ...; what was there of them before is replaced.

        Raises:
            UserError: images before `first` have no proposals yet.
            OSError: the disk is full, or writing is not permitted.
        """
        if first > self.done:
            raise UserError(
                f"proposals of image {first} for {self.path}, which has {self.done}: it was changed by somebody else; "
                "start the task again"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self._rows, self._counts):
            path.touch()
        with self._counts.open("r+b") as counts_file, self._rows.open("r+b") as rows_file:
            before = np.frombuffer(counts_file.read(first * _COUNT_BYTES), np.int64)
            rows_file.truncate(int(before.sum()) * _ROW_BYTES)
            counts_file.truncate(first * _COUNT_BYTES)
            rows_file.seek(0, os.SEEK_END)
            rows_file.write(np.ascontiguousarray(rows, np.float32).tobytes())
            rows_file.flush()
            os.fsync(rows_file.fileno())  # a row that is counted is there
            counts_file.seek(0, os.SEEK_END)
            counts_file.write(counts.astype(np.int64).tobytes())
        self.complete()

    def complete(self) -> None:
        """Where all images have their proposals: gives the file its name, unless it has it, and makes it the newest one
        of its folder. Raises OSError."""
        if not self.path.exists() and self.done == len(self._images):
            self._finish()
        if self.path.exists():
            for path in (self._counts, self._rows):
                path.unlink(missing_ok=True)
            os.utime(self.path)

    def _finish(self) -> None:
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

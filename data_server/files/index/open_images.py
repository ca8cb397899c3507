"""The index of OpenImages' files: a CSV of boxes, and MMDetection's pickle of image sizes.

    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside,...
    [{"filename": ".../ID.jpg", "ori_shape": (height, width, 3)}, ...]            an entry for each run of equal ids

    images        id            texts                         width, height  int32 pixels
                  first         int64 (images + 1,): where the boxes of each begin
    boxes         box           float64 (n, 4) x1, y1, x2, y2 in pixels: the file's share times the size
                  label         int32, its row in the list of labels
                  flags         uint8, bit i: column 8 + i of the file is 1

A file is taken in only where every line has as many columns as the second, at least 13, and no quotes: then
MMDetection's reader, Python's, would make the same of it. Sizes that are no integers, or of other images, are not taken
in.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_server.files.index import columns
from data_server.files.index.cache import Say, columns_of, identified, opened, progress, unchanged
from data_server.files.index.columns import Array, Columns, Growing
from data_server.files.index.json_pieces import Unfit

KIND = "open images 1"
FLAGS = ("is_occluded", "is_truncated", "is_group_of", "is_depiction", "is_inside")
_PIECE = 1 << 21
_AT_A_TIME = 1 << 14  # images
_EDGES = (4, 6, 5, 7)  # columns of x1, y1, x2, y2
_FIRST_FLAG = 8
_MOST_PIXELS = 1 << 31


def index_of(boxes: Path, sizes: Path, say: Say) -> Columns:
    """The index of a file of boxes and a file of sizes, which is made where there is none.

    Raises:
        Unfit: they are not taken in, or there is no room for an index.
        OSError: one cannot be read.
    """
    descriptors: list[int] = []
    try:
        descriptors += (opened(boxes), opened(sizes))
        before, content = identified(descriptors, KIND)

        def write(folder: Path) -> None:
            with unchanged(descriptors, before):
                _write(descriptors, folder, progress(boxes, before[0][2], say))

        return columns_of(content, write)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _write(descriptors: list[int], folder: Path, told: Callable[[int], None]) -> None:
    read = _Boxes(folder)
    _read_lines(descriptors[0], read.take, told)
    identities, first = read.images()
    height, width = _sizes(descriptors[1], identities)
    encoded = [one.encode() for one in identities]
    entries = [
        columns.write(folder, "image.id.bytes", np.frombuffer(b"".join(encoded), np.uint8)),
        columns.texts_written(folder, "image.id", [np.array([*map(len, encoded)], np.int64)]),
        columns.write(folder, "image.width", width),
        columns.write(folder, "image.height", height),
        columns.write(folder, "image.first", first),
        *read.finish(np.stack([width, height, width, height], 1), first),
    ]
    columns.write_header(folder, {"images": len(identities), "labels": [*read.labels]}, dict(entries))


def _read_lines(descriptor: int, take: Callable[[list[list[str]]], None], told: Callable[[int], None]) -> None:
    """Calls `take` with the columns of the lines behind the first, some lines at a time."""
    at, rest, width, headed = 0, b"", 0, False
    while data := os.pread(descriptor, _PIECE, at):
        at += len(data)
        piece, end, rest = (rest + data).rpartition(b"\n")
        if end and not headed:  # whatever the header says
            headed, piece = True, piece.partition(b"\n")[2]
        if piece:
            width = _take(piece, width, take)
        told(at)
    if rest and headed:
        _take(rest, width, take)


def _take(piece: bytes, width: int, take: Callable[[list[list[str]]], None]) -> int:
    piece = piece.removesuffix(b"\r").replace(b"\r\n", b"\n")
    if not piece.isascii() or any(byte in piece for byte in (b'"', b"\r", b"\0")):
        raise Unfit("it has quotes, or characters that are not ASCII")
    data = np.frombuffer(piece, np.uint8)
    ends = np.append(np.flatnonzero(data == ord("\n")), len(data))
    commas = np.searchsorted(np.flatnonzero(data == ord(",")), ends)
    widths = np.diff(commas, prepend=0) + 1
    width = width or int(widths[0])
    if width < _FIRST_FLAG + len(FLAGS) or (widths != width).any():
        raise Unfit(f"not all of its lines have the same {_FIRST_FLAG + len(FLAGS)} or more columns")
    fields = piece.replace(b"\n", b",").decode().split(",")
    take([fields[place::width] for place in range(_FIRST_FLAG + len(FLAGS))])
    return width


class _Boxes:
    """The boxes, as far as they have been read. `labels` are the different ones, with a number each."""

    def __init__(self, folder: Path) -> None:
        self.labels: dict[str, int] = {}
        self._folder = folder
        self._count = 0
        self._ids: list[str] = []
        self._begins: list[Array] = []
        self._share = Growing(folder, "read.share", np.float64, (4,))
        self._label = Growing(folder, "box.label", np.int32)
        self._flags = Growing(folder, "box.flags", np.uint8)

    def take(self, fields: list[list[str]]) -> None:
        """Adds boxes, by the columns of the file."""
        ids = np.array(fields[0])
        starts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
        if not self._ids or self._ids[-1] != fields[0][0]:
            starts = np.concatenate([[0], starts])
        self._ids += ids[starts].tolist()
        self._begins.append(starts + self._count)
        self._count += len(ids)
        table = self.labels
        self._label.append(np.array([table.setdefault(one, len(table)) for one in fields[2]], np.int32))
        try:
            self._share.append(np.array([[*map(float, fields[place])] for place in _EDGES]).T)
            flags = np.zeros(len(ids), np.uint8)
            for bit in range(len(FLAGS)):
                column = fields[_FIRST_FLAG + bit]
                ones = {one: int(one) == 1 for one in set(column)}
                flags |= np.array([ones[one] << bit for one in column], np.uint8)
        except ValueError as error:
            raise Unfit(str(error)) from None
        self._flags.append(flags)

    def images(self) -> tuple[list[str], Array]:
        """The id of each image, and int64 (images + 1,) where its boxes begin."""
        if not self._count:
            raise Unfit("it has no box")
        return self._ids, np.concatenate([*self._begins, [self._count]]).astype(np.int64)

    def finish(self, sizes: Array, first: Array) -> list[tuple[str, list[Any]]]:
        """Writes the boxes of images of `sizes` (images, 4), in pixels; returns the columns' entries."""
        share, box = self._share.mapped(), Growing(self._folder, "box.box", np.float64, (4,))
        for start in range(0, len(sizes), _AT_A_TIME):
            begins = first[start : start + _AT_A_TIME + 1]
            place = slice(begins[0], begins[-1])
            box.append(share[place] * np.repeat(sizes[start : start + _AT_A_TIME], np.diff(begins), axis=0))
        del share
        self._share.discard()
        return [(column.name, column.finish()) for column in (box, self._label, self._flags)]


class _Plain(pickle.Unpickler):
    """Of dicts, lists, tuples, texts and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        raise Unfit(f"its file of sizes holds a {module}.{name}")


def _sizes(descriptor: int, identities: list[str]) -> tuple[Array, Array]:
    """int32 (images,) heights and widths, by MMDetection's pickle of them."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        try:
            found = _Plain(file).load()
            shapes = [one["ori_shape"][:2] for one in found]
            names = [os.path.split(one["filename"])[-1] for one in found]
        except Unfit:
            raise
        except Exception as error:
            raise Unfit(f"its file of sizes: {error}") from None
    if names != [f"{one}.jpg" for one in identities]:
        raise Unfit("its file of sizes is of other images")
    edges = [edge for shape in shapes for edge in shape]
    if len(edges) != 2 * len(names) or not all(type(one) is int and 0 <= one < _MOST_PIXELS for one in edges):
        raise Unfit("a size is no number of pixels")
    array = np.array(edges, np.int32).reshape(-1, 2)
    return array[:, 0], array[:, 1]

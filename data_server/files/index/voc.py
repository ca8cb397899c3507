"""The index of a folder of XML files in PASCAL VOC's format.

    images        id            texts                         width, height  int32 pixels
                  first         int64 (images + 1,): where the objects of each begin
    objects       box           int32 (n, 4) xmin, ymin, xmax, ymax as the file says them, cut to integers
                  name          int32, its row in the list of names
                  difficult     bool

An XML file is known by its inode, size and times, and by its content where it has just been written; so of an unchanged
folder none is read again. A folder is taken in only where MMDetection would read each file to its end: every file has a
size, and every object a name and four edges that are numbers.
"""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from data_server.files.index import columns
from data_server.files.index.cache import Changed, Say, columns_of, name_of, progress
from data_server.files.index.columns import Array, Columns, Growing
from data_server.files.index.json_pieces import Unfit
from shared.contents import FRESH_NS

KIND = "voc 1"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_MOST_PIXELS = 1 << 31
_SIZE, _CTIME = 2, 4  # of a signature
_AT_A_TIME = 1 << 10  # files
_MOST = (1 << 63) - 1


def index_of(identities: Sequence[str], files: Sequence[str], say: Say) -> Columns:
    """The index of images of these ids, each with its XML file; made where there is none.

    Raises:
        Unfit: they are not taken in, or there is no room for an index.
        OSError: a file cannot be read.
    """
    before = _signatures(files)
    now, digest = time.time_ns(), xxhash.xxh3_128("\0".join(identities).encode())
    digest.update(before.data)
    for row in np.flatnonzero(np.abs(before[:, _CTIME] - now) <= FRESH_NS).tolist():
        digest.update(Path(files[row]).read_bytes())  # a clock's tick could hide another edit

    def write(folder: Path) -> None:
        try:
            _write(identities, files, folder, say)
        finally:
            if (_signatures(files) != before).any():
                raise Changed("a file was changed while it was read")

    return columns_of(name_of(digest.hexdigest(), int(before[:, _SIZE].sum()), KIND), write)


def _signatures(files: Sequence[str]) -> Array:
    """int64 (files, 5), see `shared.contents.signature`."""
    rows = np.empty((len(files), 5), np.int64)
    for row, file in enumerate(files):
        one = os.stat(file)
        rows[row] = one.st_dev & _MOST, one.st_ino & _MOST, one.st_size, one.st_mtime_ns, one.st_ctime_ns
    return rows


def _write(identities: Sequence[str], files: Sequence[str], folder: Path, say: Say) -> None:
    if not files:
        raise Unfit("there is no image")
    names: dict[str, int] = {}
    box, difficult = Growing(folder, "object.box", np.int32, (4,)), Growing(folder, "object.difficult", bool)
    name = Growing(folder, "object.name", np.int32)
    told = progress(Path(files[0]).parent, len(files), say)
    sizes: list[tuple[int, int]] = []
    counts: list[int] = []
    for start in range(0, len(files), _AT_A_TIME):
        objects: list[tuple[list[int], str, bool]] = []
        for file in files[start : start + _AT_A_TIME]:
            size, found = _read(file)
            sizes.append(size)
            counts.append(len(found))
            objects += found
        box.append(np.array([one[0] for one in objects], np.int32).reshape(-1, 4))
        name.append(np.array([names.setdefault(one[1], len(names)) for one in objects], np.int32))
        difficult.append(np.array([one[2] for one in objects], bool))
        told(len(sizes))
    pairs = np.array(sizes, np.int32)
    encoded = [one.encode() for one in identities]
    entries = [
        columns.write(folder, "image.id.bytes", np.frombuffer(b"".join(encoded), np.uint8)),
        columns.texts_written(folder, "image.id", [np.array([*map(len, encoded)], np.int64)]),
        columns.write(folder, "image.width", pairs[:, 0]),
        columns.write(folder, "image.height", pairs[:, 1]),
        columns.write(folder, "image.first", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        *((one.name, one.finish()) for one in (box, name, difficult)),
    ]
    columns.write_header(folder, {"images": len(files), "names": [*names]}, dict(entries))


def _read(file: str) -> tuple[tuple[int, int], list[tuple[list[int], str, bool]]]:
    """Width and height, and of each object box, name and whether it is difficult."""
    try:
        root = ElementTree.parse(file).getroot()
        size: Any = root.find("size")
        width, height = (int(size.find(edge).text) for edge in ("width", "height"))
        objects = [_object(one) for one in root.findall("object")]
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise Unfit(f"{file!r}: {error}") from None
    if not all(0 <= edge < _MOST_PIXELS for edge in (width, height)):
        raise Unfit(f"{file!r}: a size is no number of pixels")
    return (width, height), objects


def _object(found: Any) -> tuple[list[int], str, bool]:
    difficult, edges = found.find("difficult"), found.find("bndbox")
    box = [int(float(edges.find(edge).text)) for edge in _EDGES]
    name = found.find("name").text
    if name is None or not all(abs(edge) < _MOST_PIXELS - 1 for edge in box):
        raise ValueError("an object without a name, or with a box beyond all pixels")
    return box, name, difficult is not None and bool(int(difficult.text))

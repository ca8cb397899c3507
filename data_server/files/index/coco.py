"""The index of an annotation file in COCO's format.

Images are in the file's order. Annotations are grouped by image, those of an image in the file's order, as pycocotools
has them; behind the last image's come those of images that the file does not list.

    images        id            int32 or int64, or texts      name        texts, file_name, "" where there is none
                  width, height int32 pixels                  first       int64 (images + 2,): where the annotations of
                  place, length of the record in the JSON                 each begin
    annotations   box           float64 (n, 4) x, y, width, height as the file says them
                  whole         uint8, bit i: number i of the box is written as an integer; left out where none is
                  category      int16 or int32, its row in the list of categories, -1 where it is not there
                  area          float64
                  flags         uint8, see `Flag`
                  number        int32 or int64, its id; left out where ids are texts
                  place, length of the record in the JSON

    place is the byte of the file (uint32 or uint64) at which a record begins; its length (uint32) includes what
    separates it from the next.

Polygons and all other keys stay in the file and are read from there (`record`).

A file is taken in only where the columns say all that MMDetection and pycocotools would make of it. Anything else is
`Unfit`: sizes that are no integers, ids that occur twice or are of several types, an ``iscrowd`` that is neither 0 nor
1, numbers beyond 2^31 pixels, a key that is missing. So is what is no valid file; to name its fault is left to those
who read it in Python.
"""

from __future__ import annotations

import enum
import os
from array import array
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from msgspec.structs import astuple

from data_server.files.index import columns
from data_server.files.index.columns import Array, Columns, Growing
from data_server.files.index.json_pieces import JsonFile, Places, Take, Unfit

_MOST_PIXELS = 2.0**31
_UNSTATED = 0.5  # an iscrowd that is not there; it is equal to none that can be
_STEP = 1 << 20  # annotations that are computed with at a time

_SPARSE = 8  # ids up to so many times their number are looked up in a table

Number = int | float
Identity = int | str


class Flag(enum.IntFlag):
    """What is true of an annotation."""

    CROWD = 1
    IGNORED = 2  # by the key ``ignore``
    OUTLINED = 4  # has a ``segmentation`` that is not empty
    SAYS_CROWD = 8  # has the key ``iscrowd``
    USABLE = 16  # what MMDetection keeps of the classes that count: not ignored, with an area, partly in the image


_IS_WHOLE = {int: 1, float: 0}
_FLAGS = {
    (crowd, ignored, outlined): Flag.CROWD * (crowd == 1)
    | Flag.IGNORED * ignored
    | Flag.OUTLINED * outlined
    | Flag.SAYS_CROWD * (crowd != _UNSTATED)
    for crowd in (0, 1, _UNSTATED)
    for ignored in (0, 1)
    for outlined in (False, True)
}


class _Image(msgspec.Struct, gc=False):
    id: Identity
    width: int
    height: int
    file_name: str | msgspec.UnsetType = msgspec.UNSET
    coco_url: str | msgspec.UnsetType = msgspec.UNSET


class _Annotation(msgspec.Struct, gc=False):
    id: Identity
    image_id: Identity
    category_id: Identity
    bbox: tuple[Number, Number, Number, Number]
    area: Number
    iscrowd: int | bool = _UNSTATED  # type: ignore[assignment]
    ignore: int | bool = 0
    segmentation: list[msgspec.Raw] | dict[str, msgspec.Raw] | None = None


_IMAGES = msgspec.json.Decoder(list[_Image])
_ANNOTATIONS = msgspec.json.Decoder(list[_Annotation])


def write(descriptor: int, folder: Path, progress: Callable[[int], None], source: dict[str, Any]) -> None:
    """Writes the index of an open file into an empty `folder`.

    Args:
        progress: called with the number of bytes that have been read.
        source: what the header says of the file.

    Raises:
        Unfit: the file is not taken in.
        OSError: something cannot be read or written.
    """
    size = os.fstat(descriptor).st_size
    images, annotations = _Images(folder, size), _Annotations(folder, size)
    records: dict[str, tuple[msgspec.json.Decoder[list[Any]], Take]] = {
        "images": (_IMAGES, images.take),
        "annotations": (_ANNOTATIONS, annotations.take),
    }
    try:
        found = JsonFile(descriptor, progress).read(records, ("categories",))
        categories = _checked(found.get("categories"))
        entries = images.finish()
        entries |= annotations.finish(images, categories)
    except OverflowError as error:
        raise Unfit(f"a number is beyond all bounds: {error}") from None
    facts = {
        "source": source,
        "images": images.count,
        "annotations": annotations.count,
        "categories": categories,
        "named": images.named,
        "located": images.located,
    }
    columns.write_header(folder, facts, entries)


def annotations_of(columns: Columns, images: Array) -> Array:
    """int64 (n,), the rows of the annotations of some images (int, their rows), one image after the other."""
    first = columns["image.first"]
    begins, lengths = first[images], first[images + 1] - first[images]
    found: Array = np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    return found


def _checked(categories: Any) -> list[dict[str, Any]]:
    """A file's categories. Raises Unfit."""
    if not isinstance(categories, list):
        raise Unfit("it has no list 'categories'")
    for one in categories:
        if not isinstance(one, dict) or type(one.get("id")) not in (int, str) or type(one.get("name")) is not str:
            raise Unfit("a category has no id or no name")
    if len({one["id"] for one in categories}) != len(categories):
        raise Unfit("two categories have the same id")
    return categories


class _Identities:
    """Ids of one kind as integers: themselves, or where they are texts a number for each different one.

    Attributes:
        texts: the numbers by text; None where the ids are integers.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._kind: type | None = None
        self.texts: dict[str, int] | None = None

    def numbers(self, identities: Sequence[Identity]) -> Array:
        """int64 (n,). Raises Unfit where they are not all of one kind, OverflowError where 64 bits do not hold one."""
        if not identities:
            return np.zeros(0, np.int64)
        kind: type = int
        try:
            found = np.frombuffer(array("q", cast("Sequence[int]", identities)), np.int64)
        except TypeError:  # looking at the types of all beforehand would take as long again
            kind = str
        if self._kind not in (None, kind) or (kind is str and {*map(type, identities)} != {str}):
            raise Unfit(f"ids of {self._what} are neither all integers nor all texts")
        self._kind = kind
        if kind is int:
            return found
        table = self.texts = self.texts or {}
        return np.array([table.setdefault(str(one), len(table)) for one in identities], np.int64)

    def same_kind(self, other: _Identities) -> None:
        """Raises Unfit where these cannot be found among `other`, for an integer is no text."""
        if None not in (self._kind, other._kind) and self._kind is not other._kind:
            raise Unfit(f"ids of {self._what} are of another type than those that they refer to")


class _Images:
    def __init__(self, folder: Path, file_bytes: int) -> None:
        self._folder = folder
        self.count = 0
        self.named = self.located = True
        self.identities = _Identities("images")
        self._ids: list[Array] = []
        self._sizes: list[Array] = []
        self._lengths: list[Array] = []
        self._id_texts: list[str] = []
        self._names = Growing(folder, "image.name.bytes", np.uint8)
        self._place = Growing(folder, "image.place", _place_type(file_bytes))
        self._length = Growing(folder, "image.length", np.uint32)

    def take(self, images: list[_Image], places: Places, lengths: Places) -> None:
        ids, widths, heights, names, addresses = zip(*map(astuple, images), strict=True)
        self._ids.append(self.identities.numbers(ids))
        self._sizes.append(np.stack([_pixels(widths), _pixels(heights)], 1))
        self.named = self.named and msgspec.UNSET not in names
        self.located = self.located and msgspec.UNSET not in addresses
        encoded = [b"" if name is msgspec.UNSET else name.encode() for name in names]
        self._names.append(np.frombuffer(b"".join(encoded), np.uint8))
        self._lengths.append(np.array([*map(len, encoded)], np.int64))
        self._place.append(places)
        self._length.append(lengths)
        self.count += len(images)

    def finish(self) -> dict[str, list[Any]]:
        self.ids = np.concatenate([np.zeros(0, np.int64), *self._ids])
        self.sizes = np.concatenate([np.zeros((0, 2), np.int32), *self._sizes])
        if not _unique(self.ids):
            raise Unfit("two images have the same id")
        texts = self.identities.texts
        columns_of_ids = []
        if texts is None:
            columns_of_ids.append(columns.write(self._folder, "image.id", columns.narrowed(self.ids)))
        else:
            encoded = [text.encode() for text in texts]  # in the order of the images, since none is there twice
            characters = np.frombuffer(b"".join(encoded), np.uint8)
            columns_of_ids.append(columns.write(self._folder, "image.id.bytes", characters))
            ends = [np.array([*map(len, encoded)], np.int64)]
            columns_of_ids.append(columns.texts_written(self._folder, "image.id", ends))
        return dict(
            [
                *columns_of_ids,
                columns.write(self._folder, "image.width", self.sizes[:, 0]),
                columns.write(self._folder, "image.height", self.sizes[:, 1]),
                columns.texts_written(self._folder, "image.name", self._lengths),
                *((one.name, one.finish()) for one in (self._names, self._place, self._length)),
            ]
        )


class _Annotations:
    def __init__(self, folder: Path, file_bytes: int) -> None:
        self._folder = folder
        self.count = 0
        self._images = _Identities("images of annotations")
        self._categories = _Identities("categories of annotations")
        self._ids = _Identities("annotations")
        self._columns = {
            name: Growing(folder, f"read.{name}", dtype, row)
            for name, dtype, row in (
                ("box", np.float64, (4,)),
                ("whole", np.uint8, ()),
                ("area", np.float64, ()),
                ("flags", np.uint8, ()),
                ("place", _place_type(file_bytes), ()),
                ("length", np.uint32, ()),
                ("image", np.int64, ()),
                ("category", np.int64, ()),
                ("number", np.int64, ()),
            )
        }
        self._has_whole = False

    def take(self, annotations: list[_Annotation], places: Places, lengths: Places) -> None:
        ids, images, categories, boxes, areas, crowd, ignored, outlines = zip(*map(astuple, annotations), strict=True)
        count = len(annotations)
        box = np.fromiter(chain.from_iterable(boxes), np.float64, 4 * count).reshape(-1, 4)
        area = np.fromiter(areas, np.float64, count)
        if not (box.min() > -_MOST_PIXELS and box.max() < _MOST_PIXELS and np.isfinite(area).all()):
            raise Unfit("a box or an area is beyond all pixels")
        try:
            flags = bytes(map(_FLAGS.__getitem__, zip(crowd, ignored, map(bool, outlines), strict=True)))
        except KeyError:
            raise Unfit("an iscrowd or ignore is neither 0 nor 1") from None
        whole = _whole(boxes, box)
        self._has_whole = self._has_whole or bool(whole.any())
        found: dict[str, Array] = {
            "box": box,
            "whole": whole,
            "area": area,
            "flags": np.frombuffer(flags, np.uint8),
            "place": places,
            "length": lengths,
            "image": self._images.numbers(images),
            "category": self._categories.numbers(categories),
            "number": self._ids.numbers(ids),
        }
        for name, rows in found.items():
            self._columns[name].append(rows)
        self.count += count

    def finish(self, images: _Images, categories: list[dict[str, Any]]) -> dict[str, list[Any]]:
        """Groups the annotations by image and writes their columns."""
        read = {name: column.mapped() for name, column in self._columns.items()}
        if not _unique(read["number"]):
            raise Unfit("two annotations have the same id")
        row = _rows(read["image"], self._images, images.ids, images.identities)
        first = np.cumsum(np.bincount(row, minlength=images.count + 1))
        entries = dict([columns.write(self._folder, "image.first", np.concatenate([[0], first]).astype(np.int64))])
        order = None
        if (row[1:] < row[:-1]).any():
            order = np.argsort(row, kind="stable")
        sizes = np.concatenate([images.sizes, np.zeros((1, 2), np.int32)])
        grouped = {
            name: Growing(self._folder, f"annotation.{name}", dtype, read[name].shape[1:])
            for name, dtype in self._types(read, categories).items()
        }
        ids = _Identities("categories")
        category_ids = ids.numbers([one["id"] for one in categories])
        for start in range(0, self.count, _STEP):
            place = slice(start, start + _STEP) if order is None else order[start : start + _STEP]
            some = {name: read[name][place] for name in grouped}
            some["category"] = _rows(some["category"], self._categories, category_ids, ids)
            some["category"][some["category"] == len(categories)] = -1
            some["flags"] = some["flags"] | Flag.USABLE * _usable(some, sizes[row[place]])
            for name, column in grouped.items():
                column.append(some[name])
        del read
        for column in self._columns.values():
            column.discard()
        return entries | {column.name: column.finish() for column in grouped.values()}

    def _types(self, read: dict[str, Array], categories: list[dict[str, Any]]) -> dict[str, Any]:
        """The columns that are kept, and the dtype of each."""
        kinds: dict[str, Any] = {name: read[name].dtype for name in ("box", "area", "flags", "place", "length")}
        kinds["category"] = np.int16 if len(categories) < 1 << 15 else np.int32
        if self._has_whole:
            kinds["whole"] = np.uint8
        if self._ids.texts is None:
            kinds["number"] = columns.narrowed(read["number"]).dtype
        return kinds


def _whole(boxes: Sequence[tuple[Number, ...]], box: Array) -> Array:
    """uint8 (n,), bit i: number i of each of `boxes`, float64 (n, 4), is written as an integer."""
    whole = np.zeros(len(boxes), np.uint8)
    rows = np.flatnonzero((box == np.rint(box)).any(1))
    kinds = map(type, chain.from_iterable(map(boxes.__getitem__, rows.tolist())))
    written = np.frombuffer(bytes(map(_IS_WHOLE.__getitem__, kinds)), np.uint8)
    whole[rows] = np.packbits(written.reshape(-1, 4), 1, "little")[:, 0]
    return whole


def _pixels(numbers: Sequence[int]) -> Array:
    """int32 (n,)."""
    if min(numbers) < 0 or max(numbers) >= _MOST_PIXELS:
        raise Unfit("a width or height is no number of pixels")
    return np.fromiter(numbers, np.int32, len(numbers))


def _place_type(file_bytes: int) -> type:
    return np.uint32 if file_bytes < 1 << 32 else np.uint64


def _unique(numbers: Array) -> bool:
    if (numbers[1:] > numbers[:-1]).all():
        return True
    ordered = np.sort(numbers)
    return not (ordered[1:] == ordered[:-1]).any()


def _rows(references: Array, kind: _Identities, identities: Array, kind_of_them: _Identities) -> Array:
    """int32, the row of each reference among `identities`, or len(identities) where it is none of them."""
    kind.same_kind(kind_of_them)
    count = len(identities)
    if kind.texts is not None and kind_of_them.texts is not None:
        return np.array([kind_of_them.texts.get(text, count) for text in kind.texts], np.int32)[references]
    if not count or not len(references):
        return np.full(len(references), count, np.int32)
    if identities.min() >= 0 and identities.max() < _SPARSE * count + _STEP:
        table = np.full(int(identities.max()) + 2, count, np.int32)
        table[identities] = np.arange(count)
        known = (references >= 0) & (references < len(table))
        return np.take(table, np.where(known, references, len(table) - 1))
    order = np.argsort(identities, kind="stable")
    ordered = identities[order]
    found = np.searchsorted(ordered, references)
    found[found == count] = 0
    return np.where(ordered[found] == references, order[found], count).astype(np.int32)


def _usable(some: dict[str, Array], sizes: Array) -> Array:
    """What MMDetection's `CocoDataset.parse_data_info` keeps, by its own arithmetic."""
    x, y, width, height = some["box"].T
    inside_x = np.maximum(0, np.minimum(x + width, sizes[:, 0]) - np.maximum(x, 0))
    inside_y = np.maximum(0, np.minimum(y + height, sizes[:, 1]) - np.maximum(y, 0))
    kept: Array = (inside_x * inside_y != 0) & (some["area"] > 0) & (width >= 1) & (height >= 1)
    kept &= some["flags"] & Flag.IGNORED == 0
    return kept

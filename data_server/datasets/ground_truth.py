"""The ground truth of a COCO or LVIS file, as columns: what a metric asks of it, and no polygon.

    images, categories   each has a number, in the order in which pycocotools goes through them
    annotations          image, category (their numbers), box, area, crowd: an array each; those of an image are in the
                         file's order

It is in the file's index (`data_server.files.index`), whose boxes and areas are shared. A file that is not taken in
there, or is not typed as COCO's own, is `Unusual`: MMDetection judges by it, so that nobody has to guess what
pycocotools would make of it. A process that asks for a file again gets what it has.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from data_server.files.index.cache import index_of
from data_server.files.index.coco import Flag
from data_server.files.index.json_pieces import Unfit
from shared.terminal import write_line

Identity = int | str | float
# pycocotools mixes up those that are equal, and never finds 0.
_IDS = "ids of annotations are not all numbers, different and other than 0"
_NEITHER = None, None
Federated = list[tuple[list[int], list[int]]]


class Unusual(Exception):
    """Something that MMDetection's own metric has to judge; the text says what."""


class _Lists(msgspec.Struct, gc=False):
    neg_category_ids: list[int] | None = None
    not_exhaustive_category_ids: list[int] | None = None


class Category(msgspec.Struct):
    """An entry of a file's ``categories``."""

    id: int
    name: str
    frequency: str | None = None


_LISTS = msgspec.json.Decoder(list[_Lists])


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """A file's content; G annotations.

    Attributes:
        images: the number of each image, from 0, by its id. Equal scores are ranked in this order.
        classes: the number of each category, from 0, by its id.
        federated: by an image's number, the categories (ids) that are known not to be there, and those whose objects
            are not all annotated; None where the file does not say that of every image, or gives no category a
            ``frequency``, and is not LVIS's.
        image: int64 (G,), -1 where the file has no such image.
        category: int64 (G,), -1 where the file has no such category.
        box: float64 (G, 4) x, y, width, height.
        area: float64 (G,).
        crowd: bool (G,); None where the file does not say that of every annotation.
        ignored: whether an annotation has a key ``ignore`` that is true.
        categories: in the file's order.
    """

    images: dict[Identity, int]
    classes: dict[int, int]
    federated: Federated | None
    image: np.ndarray
    category: np.ndarray
    box: np.ndarray
    area: np.ndarray
    crowd: np.ndarray | None
    ignored: bool
    categories: list[Category]


def read(path: str) -> GroundTruth:
    """The ground truth of an annotation file.

    Raises:
        Unusual: the file has no index, an entry lacks a key or has one of another type than COCO's, or two
            annotations have one id.
    """
    found = os.stat(path)
    return _read(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def fits_numpy(identities: Iterable[Identity]) -> bool:
    """Whether an array of these ids holds these ids. It makes text of numbers among text, and the nearest float of some
    large ones."""
    known = set(identities)
    return set(np.array(list(known)).tolist()) == known


@lru_cache(maxsize=4)  # data sets that are judged in turns
def _read(path: str, _state: tuple[int, ...]) -> GroundTruth:
    try:
        index = index_of(Path(path), write_line)
    except Unfit as error:
        raise Unusual(str(error)) from None
    columns = index.columns
    try:
        categories = msgspec.convert(columns.facts["categories"], list[Category])
        texts = index.image_records() if _federates(categories) else ()
        lists = [_listed(one) for text in texts for one in _LISTS.decode(text)]
    except msgspec.ValidationError as error:
        raise Unusual(str(error)) from None
    if "annotation.number" not in columns or not columns["annotation.number"].all():
        raise Unusual(_IDS)
    identities = list(columns.texts("image.id")) if "image.id.ends" in columns else columns["image.id"].tolist()
    ordered = _ordered(identities)
    images, classes = _numbered(ordered), _numbered(sorted(one.id for one in categories))
    image_number = np.array([*(images[one] for one in identities), -1])  # behind the last are those of no image
    class_number = np.array([*(classes[one.id] for one in categories), -1])
    flags, lists_of = columns["annotation.flags"], dict(zip(identities, lists, strict=False))
    return GroundTruth(
        images=images,
        classes=classes,
        federated=_complete([lists_of.get(one, _NEITHER) for one in ordered]),
        image=np.repeat(image_number, np.diff(columns["image.first"])),
        category=class_number[columns["annotation.category"]],
        box=columns["annotation.box"],
        area=columns["annotation.area"],
        crowd=(flags & Flag.CROWD) != 0 if ((flags & Flag.SAYS_CROWD) != 0).all() else None,
        ignored=bool((flags & Flag.IGNORED).any()),
        categories=categories,
    )


def _ordered(identities: Collection[Identity]) -> list[Identity]:
    """As pycocotools goes through images of these ids."""
    return sorted(identities) if fits_numpy(identities) else list(identities)


def _numbered(ordered: Iterable[Any]) -> dict[Any, int]:
    return {identity: number for number, identity in enumerate(ordered)}


def _federates(categories: list[Category]) -> bool:
    return any(one.frequency is not None for one in categories)


def _listed(image: _Lists) -> tuple[Any, Any]:
    return image.neg_category_ids, image.not_exhaustive_category_ids


def _complete(lists: list[tuple[Any, Any]]) -> Federated | None:
    return None if any(None in one for one in lists) else lists

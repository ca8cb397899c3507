"""The ground truth of a COCO or LVIS file, as columns: what a metric asks of it, and no polygon.

    images, categories   each has a number, in the order in which pycocotools goes through them
    annotations          image, category (their numbers), box, area, crowd: an array each, in the file's order

Reading takes what is typed as in COCO's own files and refuses the rest with `Unusual`, so that nobody has to guess what
pycocotools would make of it. A process that asks for a file again gets what it has read.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np

Identity = int | str | float


class Unusual(Exception):
    """Something that MMDetection's own metric has to judge; the text says what."""


class _Image(msgspec.Struct, gc=False):
    id: Identity
    neg_category_ids: list[int] | None = None
    not_exhaustive_category_ids: list[int] | None = None


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: Identity
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int | float | bool | None = None
    ignore: int | float | bool | None = None


class Category(msgspec.Struct):
    """An entry of a file's ``categories``."""

    id: int
    name: str
    frequency: str | None = None


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[Category]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """A file's content; G annotations.

    Attributes:
        images: the number of each image, from 0, by its id. Equal scores are ranked in this order.
        classes: the number of each category, from 0, by its id.
        federated: by an image's number, the categories (ids) that are known not to be there, and those whose objects
            are not all annotated; None where the file does not say that of every image, and is not LVIS's.
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
    federated: list[tuple[list[int], list[int]]] | None
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
        Unusual: an entry lacks a key or has one of another type than COCO's, or two annotations have one id.
    """
    found = os.stat(path)
    return _read(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def fits_numpy(identities: Iterable[Identity]) -> bool:
    """Whether an array of these ids holds these ids. It makes text of numbers among text, and the nearest float of some
    large ones."""
    known = set(identities)
    return set(np.array(list(known)).tolist()) == known


@lru_cache(maxsize=4)  # data sets that are judged in turns
def _read(path: str, _state: tuple[int, ...]) -> GroundTruth:
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _columns(msgspec.json.decode(content, type=_File))
    except (ValueError, OverflowError) as error:  # msgspec's, which names the key; an empty file; a number of no array
        raise Unusual(str(error)) from None


def _columns(file: _File) -> GroundTruth:
    images = {one.id: one for one in file.images}  # of equal ids pycocotools takes the last
    ordered = sorted(images) if fits_numpy(images) else list(images)
    federated = [(images[one].neg_category_ids, images[one].not_exhaustive_category_ids) for one in ordered]
    numbers = {identity: number for number, identity in enumerate(ordered)}
    classes = {identity: number for number, identity in enumerate(sorted({one.id for one in file.categories}))}
    annotations = file.annotations
    identities = {one.id for one in annotations}
    if len(identities) < len(annotations) or 0 in identities:  # pycocotools mixes these up; 0 is never found
        raise Unusual("ids of annotations are not all different and other than 0")
    crowd = [one.iscrowd for one in annotations]
    return GroundTruth(
        images=numbers,
        classes=classes,
        federated=None if any(None in lists for lists in federated) else federated,  # type: ignore[arg-type]
        image=np.array([numbers.get(one.image_id, -1) for one in annotations], np.int64),
        category=np.array([classes.get(one.category_id, -1) for one in annotations], np.int64),
        box=np.array([one.bbox for one in annotations], np.float64).reshape(-1, 4),
        area=np.array([one.area for one in annotations], np.float64),
        crowd=None if None in crowd else np.array(crowd, bool),
        ignored=any(one.ignore for one in annotations),
        categories=file.categories,
    )

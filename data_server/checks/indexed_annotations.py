"""Looks through an annotation file by its index, a million boxes at a time: it finds what
`data_server.checks.annotations.look_through` finds, in files that are too large to be held as Python's objects.

    rows of annotations, by image ──► the faults of each, as masks ──► by kind, in the file's order ──► findings
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xxhash

from data_server.checks import faults
from data_server.checks.faults import SMALLEST, TOLERANCE, Counts
from data_server.checks.findings import SHOWN, Findings
from data_server.files.index.cache import Index
from data_server.files.index.coco import Flag

_AT_A_TIME = 1 << 16  # images


@dataclass(frozen=True)
class _Kind:
    """A kind of fault: what its places say besides the annotation, and its text."""

    is_error: bool
    text: str
    says: str = ""  # "category", "image" or "box"


# In the order in which an annotation is looked at.
_NO_CATEGORY = _Kind(True, faults.NO_CATEGORY, "category")
_NO_IMAGE = _Kind(True, faults.NO_IMAGE, "image")
_NO_CROWD = _Kind(False, faults.NO_CROWD)
_IGNORED = _Kind(False, faults.IGNORED)
_NO_AREA = _Kind(False, faults.NO_AREA)
_TWICE = _Kind(False, faults.TWICE)
_SMALL = _Kind(False, faults.SMALL, "box")
_OUTSIDE = _Kind(False, faults.OUTSIDE, "box")
_BEYOND = _Kind(False, faults.BEYOND, "box")
_KINDS = (_NO_CATEGORY, _NO_IMAGE, _NO_CROWD, _IGNORED, _NO_AREA, _TWICE, _SMALL, _OUTSIDE, _BEYOND)


def look_through(
    index: Index, named: list[str] | None, found: Findings, kind: str = "CocoDataset", *, judged: bool = False
) -> Counts:
    """Checks an annotation file; arguments and result are those of `data_server.checks.annotations.look_through`."""
    columns = index.columns
    categories, images = columns.facts["categories"], columns.facts["images"]
    labels = faults.labels_of(categories, named, found, kind)
    _look_at_images(index, found)
    # By a category's row; the last is of what is no category of the file, whose row is -1.
    counts_of = np.array([*(one["id"] in labels for one in categories), False])
    boxes_of = np.zeros(len(categories) + 1, np.int64)
    noted: dict[_Kind, list[np.ndarray]] = defaultdict(list)
    boxes = crowds = with_boxes = 0
    for start in range(0, images + 1, _AT_A_TIME):
        ends = columns["image.first"][start : min(start + _AT_A_TIME, images + 1) + 1]
        some = slice(int(ends[0]), int(ends[-1]))
        image = np.repeat(np.arange(start, start + len(ends) - 1), np.diff(ends))
        category, flags = columns["annotation.category"][some], columns["annotation.flags"][some]

        def note(what: _Kind, mask: np.ndarray, first: int = some.start) -> None:
            noted[what].append(np.flatnonzero(mask) + first)

        note(_NO_CATEGORY, category < 0)
        note(_NO_IMAGE, image == images)
        left = (image < images) & counts_of[category]
        if judged:
            note(_NO_CROWD, left & (flags & Flag.SAYS_CROWD == 0))
        note(_IGNORED, left & (flags & Flag.IGNORED != 0))
        left &= flags & Flag.IGNORED == 0
        empty = columns["annotation.area"][some] <= 0
        note(_NO_AREA, left & empty)
        left &= ~empty
        crowd = flags & Flag.CROWD != 0
        note(_TWICE, _repeated(index, some, image, left & ~crowd))
        kept = left & _fitting(index, some, image, left, note)
        crowds += int((kept & crowd).sum())
        kept &= ~crowd
        boxes += int(kept.sum())
        boxes_of += np.bincount(category[kept], minlength=len(boxes_of))
        with_boxes += len(np.unique(image[kept]))
    _report(index, noted, found)
    rows = {one["id"]: row for row, one in enumerate(categories)}
    for identity, name in labels.items():
        if not boxes_of[rows[identity]]:
            found.warning(faults.NO_BOX, repr(name))
    return Counts(list(labels.values()), images, boxes, crowds, images - with_boxes)


def _look_at_images(index: Index, found: Findings) -> None:
    columns, names = index.columns, index.columns.texts("image.name")
    unsized = (columns["image.width"] < 1) | (columns["image.height"] < 1)
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(_name(index, row).encode()) for row in range(len(names))), np.uint64)
    order = np.argsort(hashes, kind="stable")
    again = np.zeros(len(names), bool)
    again[order[1:]] = hashes[order[1:]] == hashes[order[:-1]]
    for row in np.flatnonzero(again | unsized).tolist():
        name = _name(index, row)
        if again[row]:
            found.warning(faults.LISTED_TWICE, name)
        if unsized[row]:
            size = f"{columns['image.width'][row]}x{columns['image.height'][row]}"
            found.error(faults.NO_SIZE, f"{name} ({size})")


def _name(index: Index, row: int) -> str:
    return index.columns.texts("image.name")[row] or json.loads(index.record("image", row)).get("coco_url") or ""


def _repeated(index: Index, some: slice, image: np.ndarray, looked_at: np.ndarray) -> np.ndarray:
    """bool (n,), which of the annotations that are `looked_at` have image, category and box of one before them."""
    columns, rows = index.columns, np.flatnonzero(looked_at)
    box = columns["annotation.box"][some][rows].view(np.int64)  # by its bits: -0.0 is written in another way than 0.0
    keys = [columns["annotation.place"][some][rows], *box.T, columns["annotation.category"][some][rows], image[rows]]
    if "annotation.whole" in columns:
        keys.insert(1, columns["annotation.whole"][some][rows])
    order = np.lexsort(keys)
    same = np.ones(max(0, len(rows) - 1), bool)
    for key in keys[1:]:
        same &= key[order[1:]] == key[order[:-1]]
    found = np.zeros(len(looked_at), bool)
    found[rows[order[1:][same]]] = True
    return found


def _fitting(
    index: Index, some: slice, image: np.ndarray, left: np.ndarray, note: Callable[[_Kind, np.ndarray], None]
) -> np.ndarray:
    """bool (n,), whose boxes MMDetection keeps; notes what is wrong with those that are `left`."""
    columns = index.columns
    sizes = np.stack([columns["image.width"], columns["image.height"]], 1)
    widths, heights = np.concatenate([sizes, [[0, 0]]])[image].T  # the last is of images that the file does not list
    x, y, width, height = columns["annotation.box"][some].T
    inside_x = np.minimum(x + width, widths) - np.maximum(x, 0)
    inside_y = np.minimum(y + height, heights) - np.maximum(y, 0)
    small = (width < SMALLEST) | (height < SMALLEST)
    outside = ~small & ((inside_x <= 0) | (inside_y <= 0))
    kept = ~(small | outside)
    note(_SMALL, left & small)
    note(_OUTSIDE, left & outside)
    note(_BEYOND, left & kept & ((width - inside_x > TOLERANCE) | (height - inside_y > TOLERANCE)))
    return kept


def _report(index: Index, noted: dict[_Kind, list[np.ndarray]], found: Findings) -> None:
    """Notes the faults in the order in which a reader of the file meets them."""
    place = index.columns["annotation.place"]
    in_order = []
    for number, kind in enumerate(_KINDS):
        rows = np.concatenate(noted[kind] or [np.zeros(0, np.int64)])
        if len(rows):
            rows = rows[np.argsort(place[rows], kind="stable")]
            in_order.append((int(place[rows[0]]), number, rows))
    for _, number, rows in sorted(in_order, key=lambda one: one[:2]):
        kind = _KINDS[number]
        places = [_place(index, row, kind.says) for row in rows[:SHOWN].tolist()]
        found.several(kind.is_error, kind.text, places, len(rows))


def _place(index: Index, row: int, says: str) -> str:
    record = json.loads(index.record("annotation", row))
    return (
        f"annotation {record['id']}"
        + {
            "": "",
            "category": f" (category {record['category_id']})",
            "image": f" (image {record['image_id']})",
            "box": f" of image {record['image_id']} {record['bbox']}",
        }[says]
    )

"""What may be wrong in an annotation file in COCO's format, and what is counted of it.

`annotations` looks through a file that was parsed, `indexed_annotations` through one by its index, in the same words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from data_server.checks.findings import Findings
from shared import coco
from shared.keys import nearest

TOLERANCE = 1.0  # pixels that a box may reach beyond its image; annotations are rounded
SMALLEST = 1.0  # pixels of a side; MMDetection leaves smaller boxes out

# Kinds of faults.
NO_CATEGORY = "annotations of a category that is not in the file's list"
NO_IMAGE = "annotations of an image that is not in the file's list"
NO_CROWD = "annotations without 'iscrowd', which CocoMetric needs; write \"iscrowd\": 0"
IGNORED = "annotations with 'ignore'; they are left out"
NO_AREA = "annotations whose 'area' is 0 or less; they are left out; write width x height"
TWICE = "boxes that are annotated twice"
SMALL = "boxes with a side below one pixel; they are left out"
OUTSIDE = "boxes outside of their image; they are left out"
BEYOND = "boxes that reach beyond their image; they are cut"
NO_BOX = "classes without a box"
LISTED_TWICE = "images that are listed twice"
NO_SIZE = "images without a size"


@dataclass
class Counts:
    """What an annotation file holds, of the classes that count.

    Attributes:
        classes: their names, by label.
        images, boxes, crowds: how many; crowd boxes are not among the boxes, nor are those that are left out.
        empty_images: images without a box that counts.
    """

    classes: list[str]
    images: int
    boxes: int
    crowds: int
    empty_images: int


def labels_of(categories: list[dict], named: list[str] | None, found: Findings, kind: str) -> dict[Any, str]:
    """Category ids of the classes that count, in the order of their labels, with their names."""
    ids = Counter(category["id"] for category in categories)
    for identity, number in ids.items():
        if number > 1:
            found.error("category ids that are used again", str(identity))
    names = [category["name"] for category in categories]
    for name, number in Counter(names).items():
        if number > 1:
            found.warning("names of several categories", repr(name))
        if not name.strip():
            found.error("categories without a name", f"id {categories[names.index(name)]['id']}")
    name_of = {category["id"]: category["name"] for category in categories}
    if named is None:
        return coco.counted(name_of, None, kind)
    for name, number in Counter(named).items():
        if name not in names:
            found.error("classes that are no categories of the file", f"{name!r}{nearest(name, names)}")
        elif number > names.count(name):
            found.error("classes that metainfo.classes names again", repr(name))
    left_out = [name for name in names if name not in named]
    for name in left_out:
        found.warning("categories that no class names; their boxes are left out", repr(name))
    kept = coco.counted(name_of, named, kind)
    for label, (theirs, ours) in enumerate(zip(kept.values(), named, strict=False)):
        if len(kept) == len(named) and theirs != ours:
            found.warning(
                "labels that follow the file's categories and not the order of metainfo.classes",
                f"{label} is {theirs!r}, not {ours!r}",
            )
    return kept

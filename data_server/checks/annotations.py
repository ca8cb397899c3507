"""Looks through an annotation file in COCO's format: images, boxes and classes.

It reports what MMDetection leaves out or changes silently: boxes without area or outside of their image, categories
that no class of the config names, and labels that are not in the order of the config's classes (they follow the file).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from shared import coco
from shared.datasets import named_classes
from shared.errors import UserError
from shared.keys import nearest

_TOLERANCE = 1.0  # pixels that a box may reach beyond its image; annotations are rounded
_SMALLEST = 1.0  # pixels of a side; MMDetection leaves smaller boxes out


_LIKE_COCO = ("Coco", "LVIS", "Objects365")
_NEEDED = {
    "images": ("id", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


def check(subject: Subject, found: Findings) -> str:
    """Looks through the annotation file, where it is in COCO's format; leaves `Subject.classes`."""
    dataset = subject.dataset
    if not dataset.get("ann_file") or not any(word in dataset["type"] for word in _LIKE_COCO):
        return ""
    path = Path(dataset.get("data_root") or "") / dataset["ann_file"]
    missing = [] if subject.training else ["annotations"]
    try:
        content = coco.read(path, missing, **_NEEDED)
        counts = look_through(content, named_classes(dataset), found, str(dataset["type"]), judged=not subject.training)
    except UserError as error:
        found.error(str(error))
        return ""
    subject.classes = counts.classes
    return (
        f"{counts.images:,} images, {counts.empty_images:,} of them without a box; {counts.boxes:,} boxes and "
        f"{counts.crowds:,} crowds; {len(counts.classes):,} classes"
    )


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


def look_through(
    content: dict[str, Any],
    named: list[str] | None,
    found: Findings,
    kind: str = "CocoDataset",
    *,
    judged: bool = False,
) -> Counts:
    """Checks an annotation file.

    Args:
        content: of the file.
        named: the classes that the config names; None: all of the file's.
        found: faults go there.
        kind: MMDetection's type of data set.
        judged: whether detections are compared with the boxes, and not only trained on them.
    """
    labels = _classes(content["categories"], named, found, kind)
    sizes = _images(content["images"], found)
    known = {category["id"] for category in content["categories"]}
    boxes = crowds = 0
    seen: set[tuple] = set()
    ids: set[Any] = set()
    of_class: Counter[Any] = Counter()
    with_boxes: set[Any] = set()
    for annotation in content["annotations"]:
        place = f"annotation {annotation['id']}"
        category, image = annotation["category_id"], annotation["image_id"]
        if annotation["id"] in ids:
            found.warning("ids of annotations that are used again", place)
        ids.add(annotation["id"])
        if category not in known:
            found.error("annotations of a category that is not in the file's list", f"{place} (category {category})")
        if image not in sizes:
            found.error("annotations of an image that is not in the file's list", f"{place} (image {image})")
            continue
        if category not in labels:
            continue
        if judged and "iscrowd" not in annotation:
            found.warning("annotations without 'iscrowd', which CocoMetric needs; write \"iscrowd\": 0", place)
        if annotation.get("ignore"):
            found.warning("annotations with 'ignore'; they are left out", place)
            continue
        area = annotation.get("area", 1)
        if _is_number(area) and area <= 0:
            found.warning("annotations whose 'area' is 0 or less; they are left out; write width x height", place)
            continue
        if annotation.get("iscrowd"):
            crowds += _box(annotation["bbox"], sizes[image], f"{place} of image {image}", found)
            continue
        key = (image, category, str(annotation["bbox"]))
        if key in seen:
            found.warning("boxes that are annotated twice", place)
        seen.add(key)
        if _box(annotation["bbox"], sizes[image], f"{place} of image {image}", found):
            boxes += 1
            of_class[category] += 1
            with_boxes.add(image)
    for category, name in labels.items():
        if not of_class[category]:
            found.warning("classes without a box", repr(name))
    return Counts(list(labels.values()), len(sizes), boxes, crowds, len(sizes) - len(with_boxes))


def _classes(categories: list[dict], named: list[str] | None, found: Findings, kind: str) -> dict[Any, str]:
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


def _images(images: list[dict], found: Findings) -> dict[Any, tuple[float, float]]:
    """(width, height) by image id."""
    sizes: dict[Any, tuple[float, float]] = {}
    names: set[str] = set()
    for image in images:
        name = image.get("file_name") or image.get("coco_url") or ""
        if image["id"] in sizes:
            found.error("image ids that are used again", f"{image['id']} ({name})")
        if name in names:
            found.warning("images that are listed twice", name)
        if image["width"] < 1 or image["height"] < 1:
            found.error("images without a size", f"{name} ({image['width']}x{image['height']})")
        names.add(name)
        sizes[image["id"]] = (image["width"], image["height"])
    return sizes


def _box(box: list[float], size: tuple[float, float], place: str, found: Findings) -> bool:
    """Whether MMDetection keeps a box x, y, w, h of an image (w, h)."""
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(number) for number in box):
        found.error("boxes that are not four finite numbers x, y, width, height", f"{place} {box!r:.80}")
        return False
    x, y, width, height = box
    inside_x = min(x + width, size[0]) - max(x, 0)
    inside_y = min(y + height, size[1]) - max(y, 0)
    if width < _SMALLEST or height < _SMALLEST:
        found.warning("boxes with a side below one pixel; they are left out", f"{place} {box}")
        return False
    if inside_x <= 0 or inside_y <= 0:
        found.warning("boxes outside of their image; they are left out", f"{place} {box}")
        return False
    if width - inside_x > _TOLERANCE or height - inside_y > _TOLERANCE:
        found.warning("boxes that reach beyond their image; they are cut", f"{place} {box}")
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

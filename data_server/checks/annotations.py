"""Looks through an annotation file in COCO's format: images, boxes and classes.

It reports what MMDetection leaves out or changes silently: boxes without area or outside of their image, categories
that no class of the config names, and labels that are not in the order of the config's classes (they follow the file).
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from data_server.checks import faults, indexed_annotations
from data_server.checks.findings import Findings
from data_server.checks.subject import Subject
from data_server.files.index.cache import index_or_none
from data_server.files.local_copies import local
from shared import coco, source
from shared.datasets import named_classes
from shared.errors import UserError
from shared.terminal import write_line

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
    missing = [] if subject.training else ["annotations"]
    try:
        named, kind, judged = named_classes(dataset), str(dataset["type"]), not subject.training
        path = local(source.joined(dataset.get("data_root") or "", dataset["ann_file"]), dataset.get("backend_args"))
        index = index_or_none(Path(path), write_line)
        if index and index.columns.facts["annotations"]:
            counts = indexed_annotations.look_through(index, named, found, kind, judged=judged)
        else:
            counts = look_through(coco.read(path, missing, **_NEEDED), named, found, kind, judged=judged)
    except UserError as error:
        found.error(str(error))
        return ""
    subject.classes = counts.classes
    return (
        f"{counts.images:,} images, {counts.empty_images:,} of them without a box; {counts.boxes:,} boxes and "
        f"{counts.crowds:,} crowds; {len(counts.classes):,} classes"
    )


def look_through(
    content: dict[str, Any],
    named: list[str] | None,
    found: Findings,
    kind: str = "CocoDataset",
    *,
    judged: bool = False,
) -> faults.Counts:
    """Checks an annotation file.

    Args:
        content: of the file.
        named: the classes that the config names; None: all of the file's.
        found: faults go there.
        kind: MMDetection's type of data set.
        judged: whether detections are compared with the boxes, and not only trained on them.
    """
    labels = faults.labels_of(content["categories"], named, found, kind)
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
            found.error(faults.NO_CATEGORY, f"{place} (category {category})")
        if image not in sizes:
            found.error(faults.NO_IMAGE, f"{place} (image {image})")
            continue
        if category not in labels:
            continue
        if judged and "iscrowd" not in annotation:
            found.warning(faults.NO_CROWD, place)
        if annotation.get("ignore"):
            found.warning(faults.IGNORED, place)
            continue
        area = annotation.get("area", 1)
        if _is_number(area) and area <= 0:
            found.warning(faults.NO_AREA, place)
            continue
        if annotation.get("iscrowd"):
            crowds += _box(annotation["bbox"], sizes[image], f"{place} of image {image}", found)
            continue
        key = (image, category, str(annotation["bbox"]))
        if key in seen:
            found.warning(faults.TWICE, place)
        seen.add(key)
        if _box(annotation["bbox"], sizes[image], f"{place} of image {image}", found):
            boxes += 1
            of_class[category] += 1
            with_boxes.add(image)
    for category, name in labels.items():
        if not of_class[category]:
            found.warning(faults.NO_BOX, repr(name))
    return faults.Counts(list(labels.values()), len(sizes), boxes, crowds, len(sizes) - len(with_boxes))


def _images(images: list[dict], found: Findings) -> dict[Any, tuple[float, float]]:
    """(width, height) by image id."""
    sizes: dict[Any, tuple[float, float]] = {}
    names: set[str] = set()
    for image in images:
        name = image.get("file_name") or image.get("coco_url") or ""
        if image["id"] in sizes:
            found.error("image ids that are used again", f"{image['id']} ({name})")
        if name in names:
            found.warning(faults.LISTED_TWICE, name)
        if image["width"] < 1 or image["height"] < 1:
            found.error(faults.NO_SIZE, f"{name} ({image['width']}x{image['height']})")
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
    if width < faults.SMALLEST or height < faults.SMALLEST:
        found.warning(faults.SMALL, f"{place} {box}")
        return False
    if inside_x <= 0 or inside_y <= 0:
        found.warning(faults.OUTSIDE, f"{place} {box}")
        return False
    if width - inside_x > faults.TOLERANCE or height - inside_y > faults.TOLERANCE:
        found.warning(faults.BEYOND, f"{place} {box}")
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

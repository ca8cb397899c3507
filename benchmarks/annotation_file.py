"""Synthetic annotation files in COCO's format, of any size, written as a stream.

Keys, digits, spaces and the number of boxes and of polygon points are those of the files that are named: COCO's own,
Objects365 v2's, OpenImages' as UniDetector has them, LVIS v1's. Most boxes are of a few classes. Pictures are those of
`benchmarks.standard_data`, again and again: neither MMDetection nor the data server minds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.standard_data import SIZES

PHOTOGRAPHS = 48
_POINTS = 22.0  # of a polygon, on average
_AT_A_TIME = 20_000  # images
_POLYGONS = 20_000  # different ones
_COCO_HOST, _FLICKR = "http://images.cocodataset.org", "http://farm9.staticflickr.com/8186"


@dataclass(frozen=True)
class Form:
    """How a data set's file is written: texts with the keys of `_image` and `_annotations`, for `%`.

    Attributes:
        boxes: of an image, on average; `most_boxes` at most.
        name: of a picture's file.
        outlined: its boxes have polygons.
        category: what a category has beside its id and name.
    """

    boxes: float
    most_boxes: int
    classes: int
    separator: str
    name: str
    image: str
    annotation: str
    category: dict[str, Any]
    outlined: bool = False


COCO = Form(
    7.27,
    93,
    80,
    ",",
    "%(photograph)04d.jpg",
    '{"license": 3,"file_name": "%(name)s","coco_url": "' + _COCO_HOST + '/train2017/%(number)012d.jpg",'
    '"height": %(height)d,"width": %(width)d,"date_captured": "2013-11-14 11:18:45","flickr_url": '
    '"' + _FLICKR + '/%(flickr)010d_4e622c8349_z.jpg","id": %(id)d}',
    '{"segmentation": %(polygon)s,"area": %(area).13f,"iscrowd": 0,"image_id": %(image)d,'
    '"bbox": [%(x).2f,%(y).2f,%(width).2f,%(height).2f],"category_id": %(category)d,"id": %(id)d}',
    {"supercategory": "thing"},
    outlined=True,
)
OBJECTS365 = Form(
    14.6,
    300,
    365,
    ", ",
    "images/v1/patch8/objects365_v1_%(photograph)08d.jpg",
    '{"height": %(height)d, "id": %(id)d, "license": 5, "width": %(width)d, "file_name": "%(name)s", "url": ""}',
    '{"id": %(id)d, "iscrowd": 0, "isfake": 0, "area": %(area).10f, "isreflected": 0, '
    '"bbox": [%(x).10f, %(y).10f, %(width).10f, %(height).10f], "image_id": %(image)d, "category_id": %(category)d}',
    {"supercategory": "thing"},
)
OPEN_IMAGES = Form(
    8.0,
    300,
    500,
    ", ",
    "train/%(photograph)016x.jpg",
    '{"id": %(id)d, "width": %(width)d, "height": %(height)d, "file_name": "%(name)s"}',
    '{"id": %(id)d, "image_id": %(image)d, "freebase_id": "/m/01g317", "category_id": %(category)d, "iscrowd": false, '
    '"bbox": [%(x).2f, %(y).2f, %(width).2f, %(height).2f], "area": %(area).2f}',
    {"supercategory": "thing"},
)
LVIS = Form(
    12.7,
    300,
    1203,
    ", ",
    "%(photograph)012d.jpg",
    '{"id": %(id)d, "date_captured": "2013-11-14 11:18:45", "neg_category_ids": [%(absent)s], "license": 3, '
    '"height": %(height)d, "width": %(width)d, "flickr_url": "' + _FLICKR + '/%(flickr)010d_4e622c8349_z.jpg", '
    '"coco_url": "' + _COCO_HOST + '/val2017/%(name)s", "not_exhaustive_category_ids": [%(partly)d]}',
    '{"area": %(area).2f, "id": %(id)d, "segmentation": %(polygon)s, "image_id": %(image)d, '
    '"bbox": [%(x).2f, %(y).2f, %(width).2f, %(height).2f], "category_id": %(category)d}',
    {"frequency": "f", "synset": "thing.n.01", "image_count": 10, "instance_count": 20, "def": "a thing"},
    outlined=True,
)


def write(path: Path, images: int, form: Form = COCO, seed: int = 0) -> int:
    """Writes the annotation file of `images` images, the same for the same seed; returns the number of boxes."""
    random = np.random.default_rng(seed)
    counts = np.minimum(random.geometric(1 / form.boxes, images), form.most_boxes)
    polygons = [_polygon(random) for _ in range(_POLYGONS)] if form.outlined else [""]
    categories = [{**form.category, "id": one, "name": f"class_{one}"} for one in range(1, form.classes + 1)]
    with path.open("w") as file:
        file.write('{"info": {"description": "synthetic"},"images": [')
        for start in range(0, images, _AT_A_TIME):
            some = range(start, min(start + _AT_A_TIME, images))
            file.write((form.separator if start else "") + form.separator.join(_image(form, one) for one in some))
        file.write('],"annotations": [')
        number = 1
        for start in range(0, images, _AT_A_TIME):
            some_counts = counts[start : start + _AT_A_TIME]
            owners = np.repeat(np.arange(start, start + len(some_counts)), some_counts)
            lines = _annotations(random, form, owners, number, polygons)
            file.write((form.separator if start else "") + form.separator.join(lines))
            number += len(owners)
        file.write(f'],"categories": {json.dumps(categories)}}}')
    return int(counts.sum())


def _polygon(random: np.random.Generator) -> str:
    points = max(4, int(random.gamma(1.6, _POINTS / 1.6)))
    return "[[" + ",".join(f"{value:.2f}" for value in random.uniform(0, 600, 2 * points)) + "]]"


def _image(form: Form, number: int) -> str:
    photograph = number % PHOTOGRAPHS
    width, height = SIZES[photograph % len(SIZES)]
    absent, partly = (1 + (number + step) % form.classes for step in (0, 17, 170)), 1 + (number + 333) % form.classes
    return form.image % {
        "id": number + 1,
        "number": number,
        "name": form.name % {"photograph": photograph},
        "width": width,
        "height": height,
        "flickr": number * 7919 % 10**10,
        "absent": ", ".join(map(str, absent)),
        "partly": partly,
    }


def _annotations(
    random: np.random.Generator, form: Form, images: np.ndarray, number: int, polygons: list[str]
) -> Iterator[str]:
    """One of each of `images` (n,), which are in order; the first has id `number`."""
    count = len(images)
    sizes = np.array(SIZES)[images % PHOTOGRAPHS % len(SIZES)]
    corners, sides = random.uniform(0, 0.6, (count, 2)) * sizes, random.uniform(0.02, 0.4, (count, 2)) * sizes
    common = np.minimum((random.pareto(0.8, count) * 3).astype(int), form.classes - 1)
    columns = {
        "id": np.arange(number, number + count),
        "image": images + 1,
        "category": common * 37 % form.classes + 1,
        **dict(zip(("x", "y"), corners.T, strict=True)),
        **dict(zip(("width", "height"), sides.T, strict=True)),
        "area": sides.prod(1),
    }
    names, drawn = (*columns, "polygon"), random.integers(0, len(polygons), count).tolist()
    values = zip(*(column.tolist() for column in columns.values()), map(polygons.__getitem__, drawn), strict=True)
    return (form.annotation % dict(zip(names, row, strict=True)) for row in values)

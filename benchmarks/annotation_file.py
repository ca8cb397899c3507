"""Synthetic annotation files in COCO's format, of any size, written as a stream.

Keys, digits, spaces and the number of boxes and of polygon points are those of COCO's own files; 80 categories, most
boxes of a few of them. Pictures are those of `benchmarks.standard_data`, again and again: neither MMDetection nor the
data server minds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.standard_data import SIZES

BOXES = 7.27  # of an image, on average
MOST_BOXES = 93
CLASSES = 80
PHOTOGRAPHS = 48
_POINTS = 22.0  # of a polygon, on average
_AT_A_TIME = 20_000  # images
_POLYGONS = 20_000  # different ones


def write(path: Path, images: int, seed: int = 0) -> int:
    """Writes the annotation file of `images` images, the same for the same seed; returns the number of boxes."""
    random = np.random.default_rng(seed)
    counts = np.minimum(random.geometric(1 / BOXES, images), MOST_BOXES)
    polygons = [_polygon(random) for _ in range(_POLYGONS)]
    categories = [{"supercategory": "thing", "id": one, "name": f"class_{one}"} for one in range(1, CLASSES + 1)]
    with path.open("w") as file:
        file.write('{"info": {"description": "synthetic"},"images": [')
        for start in range(0, images, _AT_A_TIME):
            some = range(start, min(start + _AT_A_TIME, images))
            file.write(("," if start else "") + ",".join(map(_image, some)))
        file.write('],"annotations": [')
        for start in range(0, images, _AT_A_TIME):
            some_counts = counts[start : start + _AT_A_TIME]
            number = int(counts[:start].sum()) + 1
            lines = _annotations(
                random, np.repeat(np.arange(start, start + len(some_counts)), some_counts), number, polygons
            )
            file.write(("," if start else "") + ",".join(lines))
        file.write(f'],"categories": {json.dumps(categories)}}}')
    return int(counts.sum())


def _polygon(random: np.random.Generator) -> str:
    points = max(4, int(random.gamma(1.6, _POINTS / 1.6)))
    return "[[" + ",".join(f"{value:.2f}" for value in random.uniform(0, 600, 2 * points)) + "]]"


def _image(number: int) -> str:
    photograph = number % PHOTOGRAPHS
    width, height = SIZES[photograph % len(SIZES)]
    return (
        f'{{"license": 3,"file_name": "{photograph:04d}.jpg","coco_url": '
        f'"http://images.cocodataset.org/train2017/{number:012d}.jpg","height": {height},"width": {width},'
        f'"date_captured": "2013-11-14 11:18:45","flickr_url": '
        f'"http://farm9.staticflickr.com/8186/{number * 7919 % 10**10:010d}_4e622c8349_z.jpg","id": {number + 1}}}'
    )


def _annotations(random: np.random.Generator, images: np.ndarray, number: int, polygons: list[str]) -> Iterator[str]:
    """One of each of `images` (n,), which are in order; the first has id `number`."""
    count = len(images)
    sizes = np.array(SIZES)[images % PHOTOGRAPHS % len(SIZES)]
    corners, sides = random.uniform(0, 0.6, (count, 2)) * sizes, random.uniform(0.02, 0.4, (count, 2)) * sizes
    common = np.minimum((random.pareto(0.8, count) * 3).astype(int), CLASSES - 1)
    columns = (random.integers(0, len(polygons), count), images + 1, common * 37 % CLASSES + 1, *corners.T, *sides.T)
    for identity, (polygon, image, category, x, y, width, height) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True), number
    ):
        yield (
            f'{{"segmentation": {polygons[polygon]},"area": {width * height:.13f},"iscrowd": 0,"image_id": {image},'
            f'"bbox": [{x:.2f},{y:.2f},{width:.2f},{height:.2f}],"category_id": {category},"id": {identity}}}'
        )

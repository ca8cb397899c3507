"""What a data set looks like in numbers: how often each class occurs, how large its boxes are, how bright its images.

A histogram is its `edges`, of which each bin has the first and not the second (the last bin has both), and `counts`.
Crowds, which nothing is trained on, are counted apart and are in no histogram. Boxes are as they are annotated, in
pixels of the file.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from data_server.commands.browse.catalogue import Catalogue, crowds_of, labels_of
from data_server.commands.browse.pictures import as_it_is
from data_server.datasets.samples import BadSample
from shared.errors import UserError

SIDE = (0, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 1 << 31)  # pixels: the root of a box's area
ASPECT = (0, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 4 / 3, 2, 4, 8, 1 << 31)  # width by height
PER_IMAGE = (0, 1, 2, 3, 4, 5, 6, 8, 11, 16, 21, 31, 51, 101, 1 << 31)
BRIGHTNESS = tuple(range(0, 257, 16))  # the mean of all of an image's bytes
LOOKED_AT = 200  # images that are decoded for their brightness, spread over all
_THREADS = 2

Histogram = dict[str, Any]


def numbers(catalogue: Catalogue, source: int | None) -> dict[str, Any]:
    """Of all images, or those of one data set: ``images``, ``boxes``, ``crowds``, histograms, and ``classes``: of each
    name its boxes and the images that have one, the most frequent first."""
    side, aspect = np.zeros(len(SIDE) - 1, int), np.zeros(len(ASPECT) - 1, int)
    per_image, images, crowds = np.zeros(len(PER_IMAGE) - 1, int), 0, 0
    boxes_of: Counter[str] = Counter()
    images_of: Counter[str] = Counter()
    for _, part, some in catalogue.annotated(source):
        counted = ~crowds_of(some)
        image = np.repeat(np.arange(len(some.counts)), some.counts)[counted]
        labels, boxes = labels_of(some)[counted], some.boxes[counted]
        width, height = (boxes[:, 2:] - boxes[:, :2]).T
        sized = (width > 0) & (height > 0)  # a box that is none has no shape
        side += _counts(np.sqrt(width[sized] * height[sized]), SIDE)
        aspect += _counts(width[sized] / height[sized], ASPECT)
        per_image += _counts(np.bincount(image, minlength=len(some.counts)), PER_IMAGE)
        images, crowds = images + len(some.counts), crowds + int((~counted).sum())
        for name in part.classes:
            boxes_of[name] += 0  # so that one without a box is listed
            images_of[name] += 0
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            boxes_of[_name(part.classes, label)] += int(count)
        kinds = len(part.classes) + 1  # -1 is a label as well
        once = np.unique(image * kinds + labels + 1) % kinds - 1
        for label, count in zip(*np.unique(once, return_counts=True), strict=True):
            images_of[_name(part.classes, label)] += int(count)
    return {
        "images": images,
        "boxes": sum(boxes_of.values()),
        "crowds": crowds,
        "classes": [[name, count, images_of[name]] for name, count in boxes_of.most_common()],
        "side": _histogram(SIDE, side),
        "aspect": _histogram(ASPECT, aspect),
        "per_image": _histogram(PER_IMAGE, per_image),
    }


def brightness(catalogue: Catalogue, source: int | None) -> Histogram:
    """Of some images, spread over all or over those of one data set; with ``images``, how many could be read."""
    first, last = (0, len(catalogue)) if source is None else catalogue.starts[source : source + 2].tolist()
    places = np.unique(np.linspace(first, last - 1, LOOKED_AT).round().astype(int)).tolist()
    with ThreadPoolExecutor(_THREADS) as pool:
        means = [one for one in pool.map(lambda place: _mean(catalogue, place), places) if one is not None]
    return {**_histogram(BRIGHTNESS, _counts(np.array(means), BRIGHTNESS)), "images": len(means)}


def _mean(catalogue: Catalogue, place: int) -> float | None:
    try:
        return float(as_it_is(catalogue, place).mean())
    except (BadSample, UserError):
        return None


def _name(classes: list[str], label: int) -> str:
    return classes[label] if 0 <= label < len(classes) else "?"


def _counts(values: np.ndarray, edges: tuple[float, ...]) -> np.ndarray:
    return np.histogram(values, edges)[0]


def _histogram(edges: tuple[float, ...], counts: np.ndarray) -> Histogram:
    return {"edges": [*edges], "counts": counts.tolist()}

"""Counts how often each category of an annotation file occurs.

Losses need to know it (a config's ``cat_freq_path``, see `shared.category_counts`).
``A.json`` becomes ``A_cat_info.json``: the file's list of categories, each with ``image_count``, the images that show
it, and ``instance_count``, its boxes.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from data_server.files.index.cache import Index, index_or_none
from shared import coco
from shared.errors import UserError
from shared.terminal import show, write_line

_AT_A_TIME = 1 << 16  # images


def category_info(source: Path) -> Path:
    """Writes the counts of `source` beside it.

    Returns:
        the file written.

    Raises:
        UserError: a file cannot be read or written, or an annotation's category is not among the categories.
    """
    if index := index_or_none(source, write_line):
        categories, images, instances = _counted(index, source)
    else:
        content = coco.read(source, categories=("id",), annotations=("image_id", "category_id"))
        categories = content["categories"]
        known = {category["id"] for category in categories}
        for number, one in enumerate(content["annotations"]):
            if one["category_id"] not in known:
                raise _unknown(source, number, one["category_id"])
        instances = Counter(one["category_id"] for one in content["annotations"])
        pairs = {(one["category_id"], one["image_id"]) for one in content["annotations"]}
        images = Counter(category for category, _ in pairs)
    target = source.with_name(f"{source.stem}_cat_info.json")
    coco.write(
        target,
        [
            {**category, "image_count": images[category["id"]], "instance_count": instances[category["id"]]}
            for category in categories
        ],
    )
    return target


def _unknown(source: Path, number: int, category: Any) -> UserError:
    return UserError(
        f"annotation file {source}: annotations[{number}] is of category {category!r}, which is not in the list "
        "'categories'; correct the file"
    )


def _counted(index: Index, source: Path) -> tuple[list[dict[str, Any]], Counter[Any], Counter[Any]]:
    """The categories of an index, how many images show each, and how many boxes are of each."""
    columns = index.columns
    category, place, first = columns["annotation.category"], columns["annotation.place"], columns["image.first"]
    unknown = np.flatnonzero(category < 0)
    if len(unknown):
        row = int(unknown[np.argmin(place[unknown])])
        number = int((place < place[row]).sum())
        raise _unknown(source, number, json.loads(index.record("annotation", row))["category_id"])
    categories, listed = columns.facts["categories"], columns.facts["images"]
    images = np.zeros(len(categories), np.int64)
    for start in range(0, listed, _AT_A_TIME):
        ends = first[start : min(start + _AT_A_TIME, listed) + 1]
        image = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        shown = np.unique(image * len(categories) + category[ends[0] : ends[-1]])
        images += np.bincount(shown % len(categories), minlength=len(categories))
    # Those of images that the file does not list are together; their ids are in the file.
    rest = {
        (int(category[row]), json.loads(index.record("annotation", row))["image_id"])
        for row in range(int(first[listed]), int(first[listed + 1]))
    }
    for row, _ in rest:
        images[row] += 1
    instances = np.bincount(category, minlength=len(categories))
    ids = [one["id"] for one in categories]
    return (
        categories,
        Counter(dict(zip(ids, images.tolist(), strict=True))),
        Counter(dict(zip(ids, instances.tolist(), strict=True))),
    )


def main(argv: list[str]) -> None:
    """``python -m data_server category-info --annotations A.json``."""
    parser = argparse.ArgumentParser(prog="python -m data_server category-info", description="Count each category.")
    parser.add_argument("--annotations", type=Path, required=True, metavar="A.json", help="a COCO annotation file")
    options = parser.parse_args(argv)
    show(str(category_info(options.annotations)))

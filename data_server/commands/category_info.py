"""Counts how often each category of an annotation file occurs.

Losses need to know it (a config's ``cat_freq_path``, see `shared.category_counts`).
``A.json`` becomes ``A_cat_info.json``: the file's list of categories, each with ``image_count``, the images that show
it, and ``instance_count``, its boxes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from shared import coco
from shared.errors import UserError
from shared.terminal import show


def category_info(source: Path) -> Path:
    """Writes the counts of `source` beside it.

    Returns:
        the file written.

    Raises:
        UserError: a file cannot be read or written, or an annotation's category is not among the categories.
    """
    content = coco.read(source, categories=("id",), annotations=("image_id", "category_id"))
    known = {category["id"] for category in content["categories"]}
    for number, one in enumerate(content["annotations"]):
        if one["category_id"] not in known:
            raise UserError(
                f"annotation file {source}: annotations[{number}] is of category {one['category_id']!r}, which is not "
                "in the list 'categories'; correct the file"
            )
    instances = Counter(one["category_id"] for one in content["annotations"])
    pairs = {(one["category_id"], one["image_id"]) for one in content["annotations"]}
    images = Counter(category for category, _ in pairs)
    target = source.with_name(f"{source.stem}_cat_info.json")
    coco.write(
        target,
        [
            {**category, "image_count": images[category["id"]], "instance_count": instances[category["id"]]}
            for category in content["categories"]
        ],
    )
    return target


def main(argv: list[str]) -> None:
    """``python -m data_server category-info --annotations A.json``."""
    parser = argparse.ArgumentParser(prog="python -m data_server category-info", description="Count each category.")
    parser.add_argument("--annotations", type=Path, required=True, metavar="A.json", help="a COCO annotation file")
    options = parser.parse_args(argv)
    show(str(category_info(options.annotations)))

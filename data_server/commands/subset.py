"""Keeps a random part of an annotation file's images.

UniDetector trains on such parts of Objects365 and OpenImages.
``A.json`` with seed 1 and 3.5 percent becomes ``A.1@3.5.json``: int(3.5 / 100 · images) images in their old order, all
their annotations, all categories. The same seed keeps the same images as UniDetector's extract_random_images.py
(seed 1; 3.5 percent of Objects365, 4.5 percent of OpenImages).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_server.files.index.cache import Index, index_or_none
from data_server.files.index.coco import annotations_of
from shared import coco
from shared.errors import UserError
from shared.terminal import show, write_line


def subset(source: Path, percent: float, seed: int) -> Path:
    """Writes the part of `source` beside it.

    Args:
        source: a COCO annotation file.
        percent: of the images, above 0 and at most 100.
        seed: 0 or more; decides which images are kept.

    Returns:
        the file written.

    Raises:
        UserError: a number is out of range, no image would be left, or a file cannot be read or written.
    """
    if not 0 < percent <= 100:
        raise UserError(f"--percent {percent:g}: expected a number above 0 and at most 100")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed}: expected a number from 0 to {2**32 - 1}")
    target = source.with_name(f"{source.stem}.{seed}@{percent}.json")
    if index := index_or_none(source, write_line):
        kept = _drawn(index.columns.facts["images"], percent, seed, source)
        coco.write_lists(target, _indexed(index, kept))
        return target
    content = coco.read(source, images=("id",), annotations=("image_id",), categories=("id",))
    images = [content["images"][row] for row in _drawn(len(content["images"]), percent, seed, source)]
    ids = {image["id"] for image in images}
    annotations = [one for one in content["annotations"] if one["image_id"] in ids]
    coco.write_lists(target, {"images": images, "annotations": annotations, "categories": content["categories"]})
    return target


def _drawn(images: int, percent: float, seed: int, source: Path) -> np.ndarray:
    """int64 (n,), the images that are kept, in order."""
    count = int(percent / 100 * images)
    if not count:
        raise UserError(f"{percent:g} percent of the {images} images of {source} are none; raise --percent")
    order = np.arange(images)
    np.random.RandomState(seed).shuffle(order)  # numpy's older generator: the same images as upstream's seed
    return np.sort(order[:count])


def _indexed(index: Index, images: np.ndarray) -> dict[str, Iterable[Any]]:
    """The lists of some images, read from the file record by record."""
    annotations = annotations_of(index.columns, images)
    in_order = annotations[np.argsort(index.columns["annotation.place"][annotations], kind="stable")]

    def records(kind: str, rows: np.ndarray) -> Iterator[Any]:
        return (json.loads(index.record(kind, int(row))) for row in rows)

    return {
        "images": records("image", images),
        "annotations": records("annotation", in_order),
        "categories": index.columns.facts["categories"],
    }


def main(argv: list[str]) -> None:
    """``python -m data_server subset --annotations A.json --percent P [--seed S]``."""
    parser = argparse.ArgumentParser(
        prog="python -m data_server subset", description="Keep a random part of the images."
    )
    parser.add_argument("--annotations", type=Path, required=True, metavar="A.json", help="a COCO annotation file")
    parser.add_argument("--percent", type=float, required=True, help="of the images")
    parser.add_argument("--seed", type=int, default=1, help="decides which images (default: %(default)s)")
    options = parser.parse_args(argv)
    show(str(subset(options.annotations, options.percent, options.seed)))

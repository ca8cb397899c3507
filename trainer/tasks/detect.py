"""Finds what is in any images; writes one JSON file and, with ``--draw``, pictures. Needs no data server.

    files, folders, patterns ──► Detector ─┬─► detections.json
                                           └─► drawn/<name>.jpg

The JSON file is an annotation file in COCO's format with scores, so anything that reads COCO can read it; its list
``annotations`` alone is what COCO's ``loadRes`` takes::

    categories    {"id": 1, "name": "red star"}, one for each name of the vocabulary
    images        {"id": 1, "file_name": F, "width": w, "height": h}, one for each image, in the order of their paths
    annotations   {"id", "image_id", "category_id", "name", "bbox": [x, y, w, h], "area", "iscrowd": 0, "score"}
    skipped       {"file_name": F, "reason": text}, one for each image that could not be read
    info          the config, the checkpoint

An image that cannot be read stops the task, unless ``feed.on_bad_sample='replace'``: then it is listed as skipped.
What was found before is still written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from shared.command_line import GOOD
from shared.config import feed_settings
from shared.errors import UserError
from shared.files import ANOTHER_OUT, expect, save
from trainer.tasks import Request, add_checkpoint, add_drawing

if TYPE_CHECKING:
    from trainer.api import Found

NEEDS_SERVER = False

JSON_FILE = "detections.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument(
        "--images", nargs="+", required=True, metavar="PATH", help="files, folders, patterns such as '*.jpg'"
    )
    parser.add_argument(
        "--vocabulary",
        nargs="+",
        default=[],
        metavar="F.npy",
        help="text embeddings, with their names in F.names.json (default: the config's)",
    )
    parser.add_argument(
        "--names", nargs="+", default=[], metavar="NAME", help="single names, instead of or with --vocabulary"
    )
    parser.add_argument(
        "--embeddings",
        nargs="+",
        default=[],
        metavar="F.npy",
        help="text embeddings in which --names are looked up (default: the config's)",
    )
    parser.add_argument(
        "--proposals-from", nargs=2, metavar=("CONFIG", "CHECKPOINT"), help="the stage 1 that a stage 2 gets boxes from"
    )
    parser.add_argument("--out", type=Path, metavar="F.json", help=f"default: {JSON_FILE} in the work dir")
    add_drawing(parser, "; none below S is written either (default: all are)")


def run(request: Request) -> int:
    """Detects in ``--images``; returns the exit code.

    Raises:
        UserError: no image, no checkpoint, an image that cannot be read; see `trainer.api.Detector`.
    """
    from trainer.api import Detector
    from trainer.feed import images
    from trainer.feed.loader import BadImage
    from trainer.reporting.picture_folder import FOLDER, Pictures
    from trainer.weights import checkpoint

    options, say = request.options, request.say
    paths = images.find(options.images)
    weights = checkpoint.chosen(options.checkpoint, request.work_dir, "detect")
    out = options.out or request.work_dir / JSON_FILE
    expect(out, ANOTHER_OUT)
    detector = Detector(
        request.config,
        weights,
        [*options.vocabulary, *options.names] or None,
        embeddings=options.embeddings,
        proposals=tuple(options.proposals_from) if options.proposals_from else None,
        say=say,
    )
    found = Findings(detector.names, {"config": request.config.filename, "checkpoint": str(weights)})
    pictures = Pictures(out.parent / FOLDER, options.score_threshold) if options.draw else None
    stops = feed_settings(request.config)["on_bad_sample"] == "stop"
    try:
        for path in tqdm(paths, unit="image", file=sys.stderr, disable=None):
            try:
                image = detector.read(path)
                one = above(detector.detect(image), options.score_threshold or 0.0)
            except BadImage as error:
                reason = str(error) if repr(str(path)) in str(error) else f"image {str(path)!r}: {error}"
                if stops:
                    raise BadImage(
                        f"{reason} (--cfg-options feed.on_bad_sample=replace would skip it); what was found in "
                        f"{len(found.images)} images before it is in {out}"
                    ) from None
                say(f"skipped: {reason}")
                found.skip(path, reason)
                continue
            found.add(path, image, one)
            if pictures is not None:
                pictures.add(path.stem, image, one.boxes, one.names.tolist(), one.scores)
    finally:
        found.write(out)
    skipped = f", {len(found.skipped)} skipped" if found.skipped else ""
    say(f"{out}: {len(found.annotations)} detections in {len(found.images)} images{skipped}")
    if pictures is not None:
        say(f"pictures: {pictures.folder}/")
    if not found.images:
        raise UserError(f"none of the {len(paths)} images could be read; the reasons are in {out}")
    return GOOD


def above(found: Found, threshold: float) -> Found:
    """The detections that score at least `threshold`."""
    count = int((found.scores >= threshold).sum())  # they are by descending score
    return found._replace(boxes=found.boxes[:count], scores=found.scores[:count], names=found.names[:count])


class Findings:
    """What becomes the JSON file."""

    def __init__(self, names: list[str], info: dict[str, Any]) -> None:
        self.info = info
        self.categories = [{"id": row, "name": name} for row, name in enumerate(names, 1)]
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self._ids = {category["name"]: category["id"] for category in self.categories}

    def add(self, path: Path, image: np.ndarray, found: Found) -> None:
        height, width = image.shape[:2]
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": str(path), "width": width, "height": height})
        for (x1, y1, x2, y2), score, name in zip(found.boxes.tolist(), found.scores.tolist(), found.names, strict=True):
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": self._ids[name],
                    "name": str(name),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "score": score,
                }
            )

    def skip(self, path: Path, reason: str) -> None:
        self.skipped.append({"file_name": str(path), "reason": reason})

    def write(self, out: Path) -> None:
        """Writes the file.

        Raises:
            UserError: it cannot be written.
        """
        content = {
            "info": self.info,
            "categories": self.categories,
            "images": self.images,
            "annotations": self.annotations,
            "skipped": self.skipped,
        }
        save(out, json.dumps(content).encode(), ANOTHER_OUT)

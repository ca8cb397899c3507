"""Finds what is in any images; writes one JSON file and, with ``--draw``, pictures. Needs no data server.

    files, folders, patterns ──► Detector ─┬─► detections.json
                                           └─► drawn/<name>.jpg

`trainer.evaluation.findings` says what is in the JSON file.

An image that cannot be read stops the task, unless ``feed.on_bad_sample='replace'``: then it is listed as skipped.
What was found before is still written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from shared.command_line import GOOD
from shared.config import feed_settings
from shared.errors import UserError
from shared.files import ANOTHER_OUT, expect, save
from trainer.tasks import Request, add_checkpoint, add_drawing

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
    from trainer.evaluation.findings import Findings, above
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
        save(out, found.dumps(), ANOTHER_OUT)
    skipped = f", {len(found.skipped)} skipped" if found.skipped else ""
    say(f"{out}: {len(found.annotations)} detections in {len(found.images)} images{skipped}")
    if pictures is not None:
        say(f"pictures: {pictures.folder}/")
    if not found.images:
        raise UserError(f"none of the {len(paths)} images could be read; the reasons are in {out}")
    return GOOD

"""Counts how often each class is detected, for probability calibration.

What it counts are final detections (`trainer.evaluation.class_counts`), with every score that the config's score_thr
lets through. The counts go to ``calibration.json`` in the work dir, and that file into the config as
``model.roi_head.bbox_head.calibration``; an evaluation then shows the metrics without and with it.
"""

from __future__ import annotations

import argparse

import numpy as np

from shared.command_line import GOOD
from shared.errors import UserError
from shared.files import expect
from shared.terminal import show
from trainer.reporting.table import Cell, table
from trainer.tasks import Request, add_checkpoint
from trainer.vocabulary import calibration
from trainer.vocabulary.calibration import CALIBRATION_FILE, Calibration

NEEDS_SERVER = True

_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)


def run(request: Request) -> int:
    """Calibrates a checkpoint on the config's ``val`` split (else ``test``).

    Raises:
        UserError: there is no checkpoint, it cannot be calibrated, or its vocabulary is not the data set's.
    """
    from trainer.evaluation.class_counts import count_detections
    from trainer.evaluation.evaluate import SPLITS, display_name, load_model
    from trainer.feed.feed import Feed
    from trainer.models.roi_heads.bbox_heads.bbox_head_clip_inference import BBoxHeadCLIPInference
    from trainer.weights import checkpoint

    config, out = request.config, request.work_dir / CALIBRATION_FILE
    split = next((split for split in SPLITS if config.get(f"{split}_dataloader")), SPLITS[0])
    path = checkpoint.chosen(request.options.checkpoint, request.work_dir, "calibrate")
    expect(out)
    model = load_model(config, path, request.say)
    head = model.roi_head.bbox_head
    if not isinstance(head, BBoxHeadCLIPInference):
        raise UserError(
            "model.roi_head.bbox_head.type: calibration needs a BBoxHeadCLIPInference, "
            f"found {config.model.roi_head.bbox_head.type!r}"
        )
    request.say(f"calibrating {path} on {display_name(config, split)}")
    feed = Feed(request.server, config, split, request.work_dir, request.say, epochs=1)
    head.check_classes(feed.classes, training=False)
    counts = count_detections(model, feed)
    gamma = calibration.GAMMA if head.gamma is None else head.gamma
    digest = calibration.digest(head.embeddings())
    made = Calibration(list(feed.classes[0]), digest, gamma, counts.tolist(), feed.images)
    feed.close()
    calibration.save(out, made)
    show(summary(made, made.weights(None, head.least_count)))
    request.say(f"{out}: {counts.sum()} detections in {made.images} images")
    if not counts.all():
        request.say(
            f"{(counts == 0).sum()} classes were never detected; they count as detected {head.least_count:g} times "
            "(model.roi_head.bbox_head.least_count; 0 is the original's formula)"
        )
    return GOOD


def summary(made: Calibration, weights: np.ndarray) -> str:
    """The most and the least detected names, as a table."""
    order = np.argsort(-np.array(made.counts), kind="stable")
    shown = order if len(order) <= 2 * _SHOWN else np.concatenate([order[:_SHOWN], order[-_SHOWN:]])
    rows: list[list[Cell]] = [["name", "detections", "weight"]]
    rows += [[made.names[index], made.counts[index], float(weights[index])] for index in shown]
    return table(rows)
